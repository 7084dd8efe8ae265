"""The patch map: image tokens, prompt positions and cells of each word, and scores that do not depend on its source."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsemm.documents.pages import READ_PROMPT
from sparsemm.errors import InputError
from sparsemm.heads.patch_map import PatchMap, image_token_id, map_patches, read_patches, write_patches
from sparsemm.heads.probe import ProbeImage, generate_probe
from sparsemm.heads.scoring import score_heads
from sparsemm.models import build_inputs, load_processor, shape
from sparsemm.results.parquet import read_table, write_table

from helpers.probes import NEW, make_probe
from helpers.tiny import image, model, processor
from helpers.tiny_families import FAMILY_NAMES, tiny_family

SHIPPED = Path(__file__).parents[2] / "data/models/tiny-llava-next-vicuna"
SIZES = [(60, 40), (128, 64), (33, 90)]


def some_probe() -> list[ProbeImage]:
    return [
        ProbeImage(
            f"{index}",
            image(width, height, seed=index),
            ["left", "right", "dot"],
            [
                (0.0, 0.0, width * 0.6, float(height)),
                (width * 0.5, 3.0, float(width), height * 0.7),
                (width / 2, height / 2, width / 2 + 1.5, height / 2 + 1),
            ],
        )
        for index, (width, height) in enumerate(SIZES)
    ]


def overlap(a: Any, b: Any) -> float:
    """Common area of two rectangles, px."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0.0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)


def test_an_example_by_hand() -> None:
    """Qwen2-VL shows 64 x 32 px as 4 rows of 8 tokens; 8 tokens stand before the image: <s>, "USER: ", its start."""
    item = ProbeImage("a", image(64, 32), ["two", "four"], [(8, 8, 24, 16), (30, 14, 34, 18)])
    patches = map_patches(tiny_family("qwen2_vl")[1], [item])
    two, four = patches.words_of(item)
    assert two.image_tokens.tolist() == [9, 10]
    assert two.prompt_positions.tolist() == [17, 18]
    assert two.cells.tolist() == [[8, 8, 16, 16], [16, 8, 24, 16]]
    assert four.image_tokens.tolist() == [11, 12, 19, 20]
    assert patches.frame()["index"].tolist() == [0, 1]


@pytest.mark.parametrize("convention", ["released", "all"])
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_tokens_stand_where_the_prompt_has_them_and_see_their_word(name: str, convention: str) -> None:
    made, its_processor = tiny_family(name)
    assert image_token_id(its_processor) == shape(made).image_token_id
    probe = some_probe()
    patches = map_patches(its_processor, probe, convention=convention)
    assert list(patches.images) == [item.id for item in probe]
    for item in probe:
        ids = build_inputs(its_processor, [item.image], [READ_PROMPT])["input_ids"][0].numpy()
        at = np.flatnonzero(ids == shape(made).image_token_id)
        for word in patches.words_of(item):
            assert word.image_tokens.tolist() == sorted(set(word.image_tokens.tolist()))
            assert word.prompt_positions.tolist() == at[word.image_tokens].tolist()
            assert len(word.cells) == len(word.image_tokens) > 0
            for x0, y0, x1, y1 in word.cells:
                assert 0 <= x0 < x1 <= item.image.width
                assert 0 <= y0 < y1 <= item.image.height
                assert overlap((x0, y0, x1, y1), word.box) > 0
        left, _, dot = patches.words_of(item)
        assert len(dot.image_tokens) < len(left.image_tokens)


@pytest.mark.parametrize("convention", ["released", "all"])
def test_scores_are_the_same_bytes_whoever_made_the_map(
    variant: str, convention: str, tmp_path: Path
) -> None:
    """Without a map, with one, and with one read from its file; in padded batches."""
    probe = make_probe(variant)
    patches = map_patches(processor(), probe, convention=convention)
    write_patches(tmp_path / "patches.parquet", patches, {})
    sources = {"none": None, "made": patches, "read": read_patches(tmp_path / "patches.parquet")}
    for name, source in sources.items():
        scores = score_heads(
            model(variant),
            processor(),
            probe,
            patches=source,
            convention=convention,
            max_new_tokens=NEW,
            batch_size=3,
            progress=False,
        )
        scores.save(tmp_path / f"{name}.scores", samples=tmp_path / f"{name}.samples")
    for kind in ("scores", "samples"):
        assert len({(tmp_path / f"{name}.{kind}").read_bytes() for name in sources}) == 1


def test_the_file_holds_all_that_the_map_holds(tmp_path: Path) -> None:
    probe = some_probe()[::-1]  # the file is sorted, the map keeps the order of the probe set
    patches = map_patches(processor(), probe, prompt="Read.", convention="all")
    write_patches(tmp_path / "a.parquet", patches, {"model": "tiny"})
    again = read_patches(tmp_path / "a.parquet")
    assert (again.prompt, again.convention, again.digest()) == ("Read.", "all", patches.digest())
    write_patches(tmp_path / "b.parquet", again, {"model": "tiny"})
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    write_table(tmp_path / "c.parquet", patches.frame(), "patches", {})
    plain = read_patches(tmp_path / "c.parquet")
    assert (plain.prompt, plain.convention) == (None, None)
    for item in probe:
        for mine, theirs in zip(patches.words_of(item), plain.words_of(item)):
            assert (mine.word, mine.box) == (theirs.word, theirs.box)
            for field in ("image_tokens", "prompt_positions", "cells"):
                np.testing.assert_array_equal(getattr(mine, field), getattr(theirs, field))


def test_a_model_folder_without_weights_is_enough(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "small", ignore=shutil.ignore_patterns("*.safetensors"))
    probe = generate_probe(1, seed=0)
    patches = map_patches(load_processor(tmp_path / "small"), probe)
    assert len(patches.frame()) == len(probe[0].words)
    assert all(len(word.image_tokens) for word in patches.words_of(probe[0]))


def test_a_map_of_other_things_is_refused() -> None:
    probe = make_probe("mha")[:2]
    patches = map_patches(processor(), probe, convention="all")

    def refused(said: str, given: PatchMap, items: list[ProbeImage] = probe, **changes: Any) -> None:
        settings: dict[str, Any] = {"convention": "all", "max_new_tokens": NEW, "progress": False}
        with pytest.raises(InputError, match=said) as caught:
            score_heads(model("mha"), processor(), items, patches=given, **settings | changes)
        assert "\n" not in str(caught.value)

    refused("image 002 is not in the map", patches, make_probe("mha")[:3])
    moved = [ProbeImage(p.id, p.image, p.words, [(0.0, 0.0, 9.0, 9.0)] * 3) for p in probe]
    refused("image 000 has other words or boxes", patches, moved)
    refused("made with convention 'all', not 'released'", patches, convention="released")
    refused("made with prompt 'Please read", dataclasses.replace(patches, prompt="Please read"))
    unsaid = map_patches(processor(), probe, convention="all", prompt="Other")
    beside = {
        key: tuple(dataclasses.replace(w, prompt_positions=w.prompt_positions + 500) for w in words)
        for key, words in unsaid.images.items()
    }
    refused("image 000: a token of .* is no image token", PatchMap(beside))
    before = {
        key: tuple(dataclasses.replace(w, prompt_positions=w.prompt_positions - 7) for w in words)
        for key, words in unsaid.images.items()
    }
    refused("image 000: a token of .* is no image token", PatchMap(before))


def test_bad_input_gets_one_line(tmp_path: Path) -> None:
    probe = some_probe()
    with pytest.raises(InputError, match="same id"):
        map_patches(processor(), [probe[0], probe[0]])
    with pytest.raises(InputError, match="empty"):
        map_patches(processor(), [])
    with pytest.raises(InputError, match="convention 'some' is unknown"):
        map_patches(processor(), probe, convention="some")
    with pytest.raises(InputError, match="no image_token_id"):
        image_token_id(object())
    frame = map_patches(processor(), probe).frame()
    short = frame.assign(prompt_positions=[row[1:] for row in frame["prompt_positions"]])
    for name, wrong, said in (
        ("hole", frame.drop(index=1), "image 0, word 1: missing"),
        ("short", short, "image 0, word 0: .* image tokens, .* prompt positions"),
    ):
        write_table(tmp_path / name, wrong, "patches", {})
        with pytest.raises(InputError, match=said) as caught:
            read_patches(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(InputError, match="missing"):
        read_patches(tmp_path / "none.parquet")
    write_table(tmp_path / "empty", read_table(tmp_path / "hole", "patches").iloc[:0], "patches", {})
    assert read_patches(tmp_path / "empty").images == {}
