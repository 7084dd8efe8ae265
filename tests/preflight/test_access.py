"""Who may read what: through the real clients, from a hub on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sparsemm.benchmarks.named import named_sources
from sparsemm.preflight.access import Found, ask
from sparsemm.preflight.machine import this_machine
from sparsemm.sources.hub import resolve
from sparsemm.sources.lock import write_lock

from helpers.hub import Hub, Repository, local_hub, use_hub
from helpers.hub_metadata import PAPER, QWEN, data_set, metadata_hub, model


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def served(
    repositories: dict[str, Repository], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hub]:
    with local_hub(*repositories.values()) as hub:
        use_hub(hub, folder, monkeypatch)
        yield hub


def answers(lock: Path = Path("lock.yaml")) -> dict[str, Found]:
    return {
        each.named.key: each
        for each in ask(named_sources(PAPER["models"], PAPER["benchmarks"], PAPER["probe"]), lock)
    }


def test_every_repository_of_the_paper_is_asked_for_once(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(metadata_hub(), project, monkeypatch) as hub:
        found = answers()
        assert hub.asked("/revision/") == len(found) == 12
        assert hub.asked("/resolve/") == 0, "no file is asked for"
    assert {each.says for each in found.values()} == {"open"}
    assert not any(project.iterdir())


def test_an_unknown_id_goes_on_to_the_next_and_is_a_line_without_one(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = metadata_hub()
    del parts["benchmarks.ocrbench"]
    parts["benchmarks.docvqa"] = replace(parts["benchmarks.docvqa"], id="lmms-lab-encoder/DocVQA")
    with served(parts, project, monkeypatch):
        found = answers()
    assert found["benchmarks.docvqa"].source is not None
    assert found["benchmarks.docvqa"].source.id == "lmms-lab-encoder/DocVQA"
    assert found["benchmarks.ocrbench"].says == "no access"
    assert found["benchmarks.ocrbench"].fault == (
        "benchmarks.ocrbench: dataset echo840/OCRBench: not on the hub, or not to be seen without a token; "
        "correct the id or set HF_TOKEN"
    )


@pytest.mark.parametrize("listed", [True, False])
def test_a_gated_repository_needs_a_token_that_may_read_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    parts = metadata_hub() | {"models.qwen2-vl-7b": model(QWEN, gated=True, listed=listed)}
    with served(parts, project, monkeypatch) as hub:
        closed = answers()["models.qwen2-vl-7b"]
        assert not this_machine().token
        monkeypatch.setenv("HF_TOKEN", hub.token)
        opened = answers()["models.qwen2-vl-7b"]
        assert this_machine().token
        assert os.environ["HF_TOKEN"] not in repr((opened, closed, this_machine()))
    assert closed.fault.startswith(f"models.qwen2-vl-7b: model {QWEN}: gated; accept its licence")
    assert opened.says == "gated, opened by the token"


def test_what_is_there_is_not_asked_for(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (
        "data/models/qwen2-vl-7b",
        "data/benchmarks/gqa",
        "data/fetched/models",
        PAPER["probe"]["source"],
    ):
        (project / place).mkdir(parents=True)
    (project / "data/benchmarks/gqa/index.parquet").touch()
    (project / "data/fetched/models/llava-next-vicuna-7b.json").touch()
    with served(metadata_hub(), project, monkeypatch) as hub:
        found = answers()
        assert hub.asked("/revision/") == 8
    there = {key for key, each in found.items() if each.says == "not needed: the files are there"}
    assert there == {"models.qwen2-vl-7b", "models.llava-next-vicuna-7b", "benchmarks.gqa", "probe"}


def test_the_locked_commit_is_asked_for(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = project / "lock.yaml"
    with served(metadata_hub(), project, monkeypatch):
        write_lock(lock, [resolve("dataset", "echo840/OCRBench")])
    changed = metadata_hub() | {"benchmarks.ocrbench": data_set("ocrbench", b"other rows")}
    with served(changed, project, monkeypatch):
        found = answers(lock)["benchmarks.ocrbench"]
    assert "has no revision" in found.fault


def test_models_without_safetensors_or_config_are_faults(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = model(QWEN)
    for gone, line in (("model.safetensors", "no safetensors weights"), ("config.json", "no config.json")):
        files = {name: data for name, data in bare.files.items() if name != gone}
        with served({"one": replace(bare, files=files)}, project, monkeypatch):
            assert line in answers()["models.qwen2-vl-7b"].fault
