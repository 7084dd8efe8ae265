"""The patch map's figure: boxes and cells of one page, the right probe set, one line for what does not fit."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from sparsemm.errors import InputError
from sparsemm.reporting.figures import figure_patches
from sparsemm.results.parquet import read_table, write_table

from helpers.fake_patches import Patches, make_patches


@pytest.fixture
def made(tmp_path: Path) -> Patches:
    return make_patches(tmp_path / "run", models={"tiny": 8, "other": 12}, families=2)


def panels(made: Patches, monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """The panels of the figure that would be saved."""
    kept: list[Figure] = []
    monkeypatch.setattr("sparsemm.reporting.figures.patches.save", lambda figure, stem: kept.append(figure))
    figure_patches(made.patches, made.probe, "x")
    return list(kept[0].axes)


def test_both_files_are_made_twice_the_same(made: Patches, tmp_path: Path) -> None:
    figure_patches(made.patches, made.probe, tmp_path / "a" / "f")
    figure_patches(patches=made.patches, probe=made.probe, stem=tmp_path / "b" / "f")
    for name in ("f.pdf", "f.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with Image.open(tmp_path / "a" / "f.png") as image:
        assert image.width > 1200
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_every_word_has_its_box_and_its_cells(made: Patches, monkeypatch: pytest.MonkeyPatch) -> None:
    page = panels(made, monkeypatch)[0]
    frame = read_table(made.patches[0], "patches")
    words = frame[frame["image"] == "00000"]
    boxes = [patch for patch in page.patches if isinstance(patch, Rectangle)]
    found = [(box.get_x(), box.get_y(), box.get_width(), box.get_height()) for box in boxes]
    wanted = [(x0 - 0.5, y0 - 0.5, x1 - x0, y1 - y0) for x0, y0, x1, y1 in words["box"]]
    assert found == wanted  # pixel 0 reaches from -0.5 to 0.5
    filled = [item for item in page.collections if isinstance(item, PatchCollection)][::2]
    for cells, drawn in zip(words["cells"], filled, strict=True):
        corners = [[*path.vertices.min(axis=0), *path.vertices.max(axis=0)] for path in drawn.get_paths()]
        assert np.allclose(np.array(corners) + 0.5, np.array(cells))


def test_the_close_up_numbers_the_tokens_of_one_word(made: Patches, monkeypatch: pytest.MonkeyPatch) -> None:
    for (close, page), path in zip(
        zip(*[iter(reversed(panels(made, monkeypatch)))] * 2), reversed(made.patches)
    ):
        frame = read_table(path, "patches")
        numbers = [int(text.get_text()) for text in close.texts]
        row = frame[frame["index"] == int(close.get_title().split(",")[0].removeprefix("word "))].iloc[0]
        assert numbers == row["image_tokens"]
        assert f'"{row["word"]}": {len(numbers)} image tokens' in close.get_title()
        (left, right), (bottom, top) = close.get_xlim(), close.get_ylim()
        x0, y0, x1, y1 = row["box"]
        assert left <= x0 - 0.5 < x1 - 0.5 <= right
        assert top <= y0 - 0.5 < y1 - 0.5 <= bottom
        (low, high), (down, up) = page.get_xlim(), page.get_ylim()
        assert low <= left < right <= high
        assert up <= top < bottom <= down  # inside the page, and of its shape
        assert (right - left) / (bottom - top) == pytest.approx((high - low) / (down - up))


def test_each_model_gets_the_page_of_its_own_probe_set(
    made: Patches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two probe sets have images of the same id: the words and boxes decide."""
    made.probe.reverse()
    drawn = panels(made, monkeypatch)
    for number, path in enumerate(reversed(made.probe)):
        probe = read_table(path, "probe")
        with Image.open(io.BytesIO(probe["image"].iloc[0])) as image:
            wanted = np.asarray(image.convert("RGB"))
        assert np.array_equal(drawn[2 * number].get_images()[0].get_array(), 255 - (255 - wanted) // 3 * 2)
    assert drawn[0].get_title() == "tiny: probe image 00000"


def test_names_are_not_read_as_formulas(tmp_path: Path) -> None:
    made = make_patches(tmp_path / "run", models={"tiny": 8}, pages=1)
    for path, kind, column in ((made.patches[0], "patches", "image"), (made.probe[0], "probe", "id")):
        frame = read_table(path, kind)
        write_table(path, frame.assign(**{column: r"$\frac$"}), kind, {})
    figure_patches(made.patches[0], made.probe[0], tmp_path / "f")
    assert (tmp_path / "f.png").is_file()


def test_what_does_not_fit_is_one_line_and_no_figure(made: Patches, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no probe file has image 00000"):
        figure_patches(made.patches, made.probe[:1], tmp_path / "f")
    with pytest.raises(InputError, match="no patches files given"):
        figure_patches([], made.probe, tmp_path / "f")
    with pytest.raises(InputError, match="no probe files given"):
        figure_patches(made.patches, [], tmp_path / "f")
    frame = read_table(made.patches[0], "patches")
    short = tmp_path / "short.parquet"
    write_table(short, frame.assign(cells=[cells[:-1] for cells in frame["cells"]]), "patches", {})
    with pytest.raises(InputError, match=r"short.parquet: image 00000, word 0: not one cell per image token"):
        figure_patches(short, made.probe, tmp_path / "f")
    write_table(short, frame.iloc[:0], "patches", {})
    with pytest.raises(InputError, match="has no words"):
        figure_patches(short, made.probe, tmp_path / "f")
    probe = read_table(made.probe[0], "probe")
    write_table(made.probe[0], probe.assign(image=[b"none"] * len(probe)), "probe", {})
    with pytest.raises(InputError, match="probe image 00000: unreadable image; make the probe set again"):
        figure_patches(made.patches, made.probe, tmp_path / "f")
    made.patches[0].write_bytes(made.patches[0].read_bytes()[:-50])
    with pytest.raises(InputError, match="truncated"):
        figure_patches(made.patches, made.probe, tmp_path / "f")
    assert not (tmp_path / "f.png").exists()
