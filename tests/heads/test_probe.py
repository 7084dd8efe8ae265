"""The probe set: generated, read from the schema of synthdog-en-detection, and refused when it is bad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sparsemm.documents.words import split_of
from sparsemm.errors import InputError
from sparsemm.heads.probe import ProbeImage, check_probe, generate_probe, png_bytes, read_probe, write_probe
from sparsemm.heads.synthdog import read_synthdog, write_synthdog


def same(left: list[ProbeImage], right: list[ProbeImage]) -> bool:
    pairs = zip(left, right, strict=True)
    return all(
        (a.id, a.words, a.boxes) == (b.id, b.words, b.boxes)
        and np.array_equal(np.asarray(a.image), np.asarray(b.image))
        for a, b in pairs
    )


def row(**changes: Any) -> dict[str, Any]:
    """One good row of synthdog-en-detection: 30 x 20 px, two words."""
    good = {
        "image": {"bytes": png_bytes(Image.new("RGB", (30, 20))), "path": "a.png"},
        "2_coord": [
            {"chunk": "alpha", "coord": [[0.0, 0.0], [10.0, 8.0]]},
            {"chunk": "beta", "coord": [[12.0, 3.0], [30.0, 20.0]]},
        ],
    }
    return good | changes


def shard(folder: Path, rows: list[dict[str, Any]], name: str = "train-00000.parquet") -> Path:
    path = folder / name
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_generated_probe_is_a_function_of_seed_and_index() -> None:
    probe = generate_probe(4, seed=3)
    assert same(probe, generate_probe(4, seed=3))
    assert same(probe[:2], generate_probe(2, seed=3))
    assert not same(probe, generate_probe(4, seed=4))
    assert all(split_of(word) == "probe" for item in probe for word in item.words)
    check_probe(probe)


def test_our_parquet_round_trips_and_repeats_its_bytes(tmp_path: Path) -> None:
    probe = generate_probe(3, seed=0)
    for name in ("a.parquet", "b.parquet"):
        write_probe(tmp_path / name, probe, {"seed": 0})
    assert same(probe, read_probe(tmp_path / "a.parquet"))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_synthdog_export_reads_back(tmp_path: Path) -> None:
    probe = generate_probe(3, seed=1)
    write_synthdog(tmp_path / "data" / "train.parquet", probe)
    assert same(probe, read_synthdog(tmp_path))
    assert same(probe[:2], read_synthdog(tmp_path, limit=2))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["train.parquet"]


def test_export_opens_with_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    probe = generate_probe(2, seed=1)
    write_synthdog(tmp_path / "train.parquet", probe)
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded[0]["image"].size == probe[0].image.size
    assert loaded[1]["2_coord"][0]["chunk"] == probe[1].words[0]
    loaded.save_to_disk(str(tmp_path / "saved"))  # leaves arrow stream files
    assert same(probe, read_synthdog(tmp_path / "saved"))


def test_shards_in_order_arrow_files_paths_and_records_of_lists(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), "white").save(tmp_path / "b.png")
    shard(tmp_path, [row(), row(image={"bytes": None, "path": "b.png"})])
    marks = {"chunk": ["gamma"], "coord": [[[1, 1], [5, 5]]]}
    table = pa.Table.from_pylist([row(**{"2_coord": marks})])
    with pa.OSFile(str(tmp_path / "z.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    probe = read_synthdog(tmp_path)
    assert [item.words for item in probe] == [["alpha", "beta"], ["alpha", "beta"], ["gamma"]]
    assert probe[0].boxes[1] == (12.0, 3.0, 30.0, 20.0)
    assert probe[1].image.getpixel((0, 0)) == (255, 255, 255)


def one_box(*corners: list[float]) -> dict[str, Any]:
    return {"2_coord": [{"chunk": "alpha", "coord": list(corners)}]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": {"bytes": b"not a picture", "path": "a.png"}}, "unreadable image"),
        ({"image": {"bytes": png_bytes(Image.new("RGB", (30, 20)))[:40], "path": ""}}, "unreadable image"),
        ({"image": {"bytes": None, "path": "gone.png"}}, "gone.png is missing"),
        (one_box([0.0, 0.0], [31.0, 5.0]), "outside its 30 x 20 px image"),
        (one_box([5.0, 5.0], [5.0, 9.0]), "zero area"),
        (one_box([5.0, 5.0], [float("nan"), 9.0]), "finite"),
        (one_box([5.0, 5.0]), "2 numbers"),
        ({"2_coord": []}, "0 words"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = shard(tmp_path, [row()], "0.parquet").with_name("1.parquet")
    bad = row(**changes)
    schema = pa.Table.from_pylist([row()]).schema
    pq.write_table(pa.Table.from_pylist([row(), bad], schema=schema), path)
    with pytest.raises(InputError, match=said) as caught:
        read_synthdog(tmp_path)
    assert f"{path}, row 1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_folders_and_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no parquet or arrow file"):
        read_synthdog(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no parquet or arrow file"):
        read_synthdog(tmp_path)
    path = shard(tmp_path, [row()])
    with pytest.raises(InputError, match="empty probe set"):
        read_synthdog(tmp_path, limit=0)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="not readable"):
        read_synthdog(tmp_path)
    pq.write_table(pa.table({"image": [b""]}), path)
    with pytest.raises(InputError, match="no column 2_coord"):
        read_synthdog(tmp_path)
    shard(tmp_path, [row()])
    pq.write_table(pa.Table.from_pylist([row()]).slice(0, 0), path)
    with pytest.raises(InputError, match="empty"):
        read_synthdog(tmp_path)


def test_bad_probes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        check_probe([])
    with pytest.raises(InputError, match="empty"):
        generate_probe(0, seed=0)
    empty = ProbeImage("x", Image.new("RGB", (0, 9)), ["a"], [(0, 0, 1, 1)])
    with pytest.raises(InputError, match="image x: 0 x 9 px has zero area"):
        check_probe([empty])
    with pytest.raises(InputError, match="outside"):
        write_probe(
            tmp_path / "p.parquet", [ProbeImage("x", Image.new("RGB", (9, 9)), ["a"], [(0, 0, 10, 1)])], {}
        )
    assert not list(tmp_path.iterdir())


def test_boxes_of_a_fetched_set_are_cut_at_the_edges(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    marks = [
        {"chunk": "in", "coord": [[1.0, 2.0], [9.0, 8.0]]},
        {"chunk": "over", "coord": [[-0.5, 3.0], [31.0, 20.5]]},
        {"chunk": "flat", "coord": [[5.0, 5.0], [5.0, 9.0]]},
        {"chunk": "out", "coord": [[30.5, 5.0], [40.0, 9.0]]},
    ]
    shard(tmp_path, [row(**{"2_coord": marks}), row(**{"2_coord": []})])
    with caplog.at_level("INFO"):
        (page,) = read_synthdog(tmp_path, clip=True)
    assert page.words == ["in", "over"]
    assert page.boxes == [(1.0, 2.0, 9.0, 8.0), (0.0, 3.0, 30.0, 20.0)]
    assert "2 boxes cut at the edges, 2 without area left out" in caplog.text
