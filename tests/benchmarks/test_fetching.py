"""A benchmark's data set fetched from a hub of this machine: the split alone, indexed; every fault one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from sparsemm.benchmarks import get_benchmark
from sparsemm.benchmarks.fetching import fetch_rows
from sparsemm.benchmarks.stored import stored_origin
from sparsemm.errors import InputError
from sparsemm.sources.lock import LockedFile, read_lock, write_lock
from sparsemm.sources.obtain import locked_source

from helpers import hub_data
from helpers.hub import Hub, Repository, local_hub, use_hub

NAME = "echo840/OCRBench"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with OCRBench and GQA."""
    with local_hub(hub_data.ocrbench(), hub_data.gqa()) as hub:
        use_hub(hub, tmp_path, monkeypatch)
        yield hub


def fetched(tmp_path: Path, name: str = "ocrbench", revision: str = "main") -> Path:
    benchmark = get_benchmark(name)
    folder, lock = tmp_path / name, tmp_path / "lock.yaml"
    return fetch_rows(benchmark.stored, folder, lock, benchmark.hub, revision)  # type: ignore[attr-defined]


def test_the_split_and_the_card_are_fetched_as_they_are(hub: Hub, tmp_path: Path) -> None:
    index = fetched(tmp_path)
    served = hub.find("dataset", NAME)
    assert served is not None
    there = {str(path.relative_to(index.parent)) for path in index.parent.rglob("*") if path.is_file()}
    assert {path for path in there if not path.startswith(".cache")} == {
        "README.md",
        "data/test-00000-of-00002.parquet",
        "data/test-00001-of-00002.parquet",
        "index.parquet",
    }
    for path in there & served.files.keys():
        assert (index.parent / path).read_bytes() == served.files[path]
    assert stored_origin(index.parent) == {"id": NAME, "commit": served.commit}
    asked, before = len(hub.requests), index.read_bytes()
    assert fetched(tmp_path).read_bytes() == before
    assert len(hub.requests) == asked


def test_questions_and_images_of_two_configurations(hub: Hub, tmp_path: Path) -> None:
    folder = fetched(tmp_path, "gqa").parent
    samples = list(get_benchmark("gqa", folder=folder).load(None, 0))
    assert len({sample.image_id for sample in samples}) == 4
    assert all(sample.image.open().size == sample.image.size for sample in samples)
    assert not (folder / "train_all_images").exists()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            "columns",
            r"^ocrbench: data/test-0.parquet: column 'answer' is int64, not list\[str\] or str: the data set",
        ),
        ("script", r"no parquet files but py, zip \(a script or an archive is not read\)"),
        ("split", r"configuration 'default', split 'test': the card has only train; correct the split"),
        ("no parquet", r"data/test-0.parquet: not readable .*; delete it and run `snakemake fetch`"),
    ],
)
def test_a_data_set_of_another_shape_is_one_line(hub: Hub, tmp_path: Path, change: str, line: str) -> None:
    answer: hub_data.Columns = {"answer": (pa.int64(), list(range(hub_data.ROWS)))}
    page: hub_data.Columns = {"image": (hub_data.IMAGE, [hub_data.picture(0)] * hub_data.ROWS)}
    texts = dict.fromkeys(("dataset", "question", "question_type"), (pa.string(), ["x"] * hub_data.ROWS))
    hub.repositories[0].files = {
        "columns": {"data/test-0.parquet": hub_data.parquet(texts | answer | page)},
        "script": {"OCRBench.py": b"import os", "images.zip": b"PK"},
        "split": {"README.md": hub_data.card({"default": {"train": "data/*"}}), "data/test-0.parquet": b""},
        "no parquet": {"data/test-0.parquet": b"PAR1 cut"},
    }[change]
    with pytest.raises(InputError, match=line) as caught:
        fetched(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ocrbench/index.parquet").exists()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            "revision",
            r"locked at revision 'v1', the configuration asks for 'main'; delete its entry there or run",
        ),
        (
            "bytes",
            r"README.md: not the .* bytes of echo840/OCRBench that the lock names; delete it and fetch again",
        ),
        ("commit", r"^dataset echo840/OCRBench: has no revision 'ffff.*'; correct it, or lock it anew$"),
    ],
)
def test_what_does_not_match_the_lock_is_refused(hub: Hub, tmp_path: Path, change: str, line: str) -> None:
    source = locked_source(tmp_path / "lock.yaml", "dataset", [NAME])
    if change == "revision":
        source = replace(source, revision="v1")
    elif change == "commit":
        source = replace(source, commit="f" * 40)
    else:
        size = source.files["README.md"].size
        source = replace(source, files={**source.files, "README.md": LockedFile(size, git_sha1="0" * 40)})
    write_lock(tmp_path / "lock.yaml", [source])
    with pytest.raises(InputError, match=line):
        fetched(tmp_path)
    assert list(read_lock(tmp_path / "lock.yaml").values()) == [source]


def test_a_full_disk_is_one_line(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    with pytest.raises(
        InputError, match=r"cannot be stored in .*/ocrbench \(No space left on device\); make room"
    ):
        fetched(tmp_path)


def test_repositories_of_the_helper_are_those_of_the_paper() -> None:
    made = {each.id for each in hub_data.data_sets()}
    names = ["docvqa", "ocrbench", "textvqa", "chartqa", "textcaps", "mmbench", "gqa", "vqav2"]
    assert made == {get_benchmark(name).hub[0] for name in names} | {"nnethercott/synthdog-en-detection"}  # type: ignore[attr-defined]
    assert all(isinstance(each, Repository) for each in hub_data.data_sets())
