"""A model's files and the probe set's first images fetched from a hub of this machine."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsemm.errors import InputError
from sparsemm.heads.synthdog import read_synthdog
from sparsemm.sources.fetching import fetch_model, fetch_probe, is_own_copy, read_marker, write_marker
from sparsemm.sources.hub import resolve

from helpers import hub_data
from helpers.hub import Hub, Repository, local_hub, use_hub

FILES = {
    "config.json": b'{"model_type": "llava_next"}',
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights",
    "consolidated.safetensors": b"the same weights again",
    "model.bin": b"never",
    "remote_code.py": b"never",
}
INDEX = json.dumps(
    {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a model and the probe set."""
    with local_hub(Repository("model", "some/model", dict(FILES)), hub_data.synthdog()) as hub:
        use_hub(hub, tmp_path, monkeypatch)
        yield hub


def test_a_model_is_its_configuration_and_safetensors(hub: Hub) -> None:
    source = resolve("model", "some/model")
    folder = fetch_model(source, "llava_next")
    assert folder.parts[-2:] == ("snapshots", source.commit)
    assert {path.name for path in folder.iterdir()} == {"config.json", "tokenizer.json", "model.safetensors"}


def test_two_runs_at_once_fill_one_cache(hub: Hub) -> None:
    """Runs in two folders share the hub's cache; the processes have no other lock in common."""
    hub.repositories[0].files["model.safetensors"] = bytes(range(256)) * 4096
    source = resolve("model", "some/model")
    fork = multiprocessing.get_context("fork")
    runs = [fork.Process(target=fetch_model, args=(source, "llava_next")) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0, 0]
    assert hub.asked("/lfs/") == 1
    folder = fetch_model(source, "llava_next")
    assert (folder / "model.safetensors").read_bytes() == bytes(range(256)) * 4096
    assert not list(folder.parents[1].rglob("*.incomplete"))


def test_weights_in_parts_are_those_of_the_index(hub: Hub) -> None:
    files = hub.repositories[0].files
    files |= {"model-1.safetensors": b"1", "model-2.safetensors": b"2", "model-3.safetensors": b"3"}
    files["model.safetensors.index.json"] = INDEX.encode()
    folder = fetch_model(resolve("model", "some/model"), "llava_next")
    assert {path.name for path in folder.glob("*.safetensors")} == {
        "model-1.safetensors",
        "model-2.safetensors",
    }


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"model.safetensors": None}, "no safetensors weights, and no others are read"),
        ({"config.json": None}, "no config.json; it is no transformers model"),
        (
            {"config.json": b'{"model_type": "llama"}'},
            "its model_type is 'llama', the configuration says family",
        ),
        ({"model.safetensors.index.json": b"[]"}, "is no index of weights"),
        (
            {"model.safetensors.index.json": b'{"weight_map": {"a": "model.bin"}}'},
            "model.bin is not safetensors",
        ),
    ],
)
def test_another_kind_of_model_is_refused_before_its_weights_are_fetched(
    hub: Hub, change: dict[str, bytes | None], line: str
) -> None:
    files = {name: data for name, data in {**FILES, **change}.items() if data is not None}
    hub.repositories[0].files = files
    with pytest.raises(InputError, match=f"^model some/model: .*{line}"):
        fetch_model(resolve("model", "some/model"), "llava_next")
    assert hub.asked(r"\.safetensors$|\.bin$") == 0


def test_only_the_files_of_the_images_that_are_used_are_fetched(hub: Hub, tmp_path: Path) -> None:
    source = resolve("dataset", "nnethercott/synthdog-en-detection")
    folder = tmp_path / "synthdog"
    assert not is_own_copy(folder)
    fetch_probe(source, "train", folder, images=2)
    assert not is_own_copy(folder)
    assert [path.name for path in folder.rglob("*.parquet")] == ["train-00000-of-00002.parquet"]
    first = read_synthdog(folder, 2)
    fetch_probe(source, "train", folder, images=1000)
    assert len(read_synthdog(folder)) == 6
    assert [each.words for each in read_synthdog(folder, 2)] == [each.words for each in first]
    own = tmp_path / "own"
    own.mkdir()
    assert is_own_copy(own)


def test_a_marker_is_read_back_and_a_broken_or_stale_one_is_told(hub: Hub, tmp_path: Path) -> None:
    source, marker = resolve("model", "some/model"), tmp_path / "model.json"
    (tmp_path / "there").mkdir()
    write_marker(marker, source, tmp_path / "there")
    assert read_marker(marker) == {
        "id": source.id,
        "commit": source.commit,
        "folder": str(tmp_path / "there"),
    }
    (tmp_path / "there").rmdir()
    with pytest.raises(InputError, match=r"its folder .* is gone; delete it and run `snakemake fetch`"):
        read_marker(marker)
    marker.write_text("{")
    with pytest.raises(InputError, match="not readable; delete it and run `snakemake fetch`"):
        read_marker(marker)
