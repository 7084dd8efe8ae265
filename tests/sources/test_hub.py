"""Locking and fetching through the real clients, from a hub on this machine with every fault it can have."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from sparsemm.errors import InputError
from sparsemm.sources.hub import fetch, resolve
from sparsemm.sources.lock import LockedFile, matches, read_lock, write_lock

from helpers.hub import Hub, Repository, local_hub, use_hub

LARGE = bytes(range(256)) * 400
MODEL = {"config.json": b'{"model_type": "tiny"}', "model.safetensors": LARGE, "extra.bin": b"never wanted"}
SPLIT = {"en/dev-0.parquet": LARGE[::-1], "en/test-0.parquet": b"another split", "README.md": b"card"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a model, a data set and a gated model; the clients of this process ask it and wait for nothing."""
    gated = Repository("model", "some/gated", {"config.json": b"{}"}, gated=True)
    with local_hub(
        Repository("model", "some/model", MODEL), Repository("dataset", "some/set", SPLIT), gated
    ) as hub:
        use_hub(hub, tmp_path, monkeypatch)
        yield hub


def test_resolve_names_commit_files_and_checksums(hub: Hub, tmp_path: Path) -> None:
    source = resolve("model", "some/model")
    repository = hub.repositories[0]
    assert (source.commit, source.revision, set(source.files)) == (repository.commit, "main", set(MODEL))
    for name, data in MODEL.items():
        file = tmp_path / "file"
        file.write_bytes(data)
        assert matches(file, source.files[name])
        file.write_bytes(data[:-1] + b"?")
        assert not matches(file, source.files[name])
    assert source.files["model.safetensors"].sha256
    assert source.files["config.json"].git_sha1
    assert hub.asked("/resolve/") == 0, "a lock downloads nothing"


def test_a_lock_survives_its_file(hub: Hub, tmp_path: Path) -> None:
    sources = [resolve("dataset", "some/set"), resolve("model", "some/model")]
    write_lock(tmp_path / "lock.yaml", sources)
    first = (tmp_path / "lock.yaml").read_bytes()
    assert list(read_lock(tmp_path / "lock.yaml").values()) == sources[::-1]
    write_lock(tmp_path / "lock.yaml", read_lock(tmp_path / "lock.yaml").values())
    assert (tmp_path / "lock.yaml").read_bytes() == first
    assert read_lock(tmp_path / "none.yaml") == {}


@pytest.mark.parametrize(
    "text",
    [
        "models: [1]",
        "models: {a/b: {commit: x}}",
        "\t:",
        "models: {a/b: {revision: m, commit: c, files: {f: {size: 1}}}}",
    ],
)
def test_a_broken_lock_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lock.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"lock\.yaml: not a lock file; delete it and run"):
        read_lock(path)


def test_only_the_asked_split_is_fetched_and_nothing_twice(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = resolve("dataset", "some/set")
    caplog.set_level(logging.INFO, logger="sparsemm")
    for _ in range(2):
        assert fetch(source, ["en/dev-*.parquet"], tmp_path / "set") == tmp_path / "set"
    assert (tmp_path / "set/en/dev-0.parquet").read_bytes() == SPLIT["en/dev-0.parquet"]
    assert not (tmp_path / "set/en/test-0.parquet").exists()
    assert hub.asked(r"/lfs/|/resolve/") == 1
    assert [record.getMessage() for record in caplog.records] == [
        "fetching dataset some/set, en/dev-0.parquet, 102400 bytes"
    ]


def test_models_go_to_the_hubs_own_cache(hub: Hub, tmp_path: Path) -> None:
    source = resolve("model", "some/model")
    folder = fetch(source, ["*.json", "*.safetensors"])
    assert folder.is_relative_to(tmp_path / "cache")
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert (folder / "model.safetensors").read_bytes() == LARGE


@pytest.mark.parametrize("folder", [None, "here"])
@pytest.mark.parametrize("fault", ["cut", "wrong"])
def test_a_cut_connection_and_wrong_bytes_are_mended(
    hub: Hub, tmp_path: Path, fault: str, folder: str | None
) -> None:
    hub.faults["GET /lfs"] = [fault]
    source = resolve("model", "some/model")
    place = fetch(source, ["model.safetensors"], None if folder is None else tmp_path / folder)
    assert (place / "model.safetensors").read_bytes() == LARGE
    assert hub.asked("/lfs/") == 2


def test_a_changed_file_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    source = resolve("dataset", "some/set")
    fetch(source, ["en/dev-0.parquet"], tmp_path)
    (tmp_path / "en/dev-0.parquet").write_bytes(LARGE)
    fetch(source, ["en/dev-0.parquet"], tmp_path)
    assert (tmp_path / "en/dev-0.parquet").read_bytes() == SPLIT["en/dev-0.parquet"]


def test_bytes_that_stay_wrong_are_refused(hub: Hub, tmp_path: Path) -> None:
    source = resolve("model", "some/model")
    other = replace(source, files={"config.json": LockedFile(22, git_sha1="0" * 40)})
    with pytest.raises(InputError, match=r"config\.json: not the 22 bytes of some/model that the lock names"):
        fetch(other, ["config.json"], tmp_path)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_hub_is_asked_again(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.faults = {"GET /api/": [status, status], "HEAD .*config": [status]}
    source = resolve("model", "some/model")
    fetch(source, ["config.json"], tmp_path)
    assert (tmp_path / "config.json").read_bytes() == MODEL["config.json"]
    assert hub.asked("/api/models/some/model") == 3


@pytest.mark.parametrize(
    ("kind", "name", "revision", "line"),
    [
        ("model", "some/gated", "main", "model some/gated: gated; accept its licence"),
        ("model", "none/such", "main", "model none/such: not on the hub"),
        ("dataset", "some/set", "v9", "dataset some/set: has no revision 'v9'"),
    ],
)
def test_no_access_is_one_line(hub: Hub, kind: str, name: str, revision: str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(kind, name, revision)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_gated_repository_opens_to_its_token_which_nobody_prints(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    source = resolve("model", "some/gated")
    fetch(source, ["*"], tmp_path)
    assert (tmp_path / "config.json").is_file()
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError) as caught:
        resolve("model", "some/gated")
    shown = (
        caplog.text + str(caught.value) + "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())
    )
    assert hub.token not in shown
    assert "hf_wrong" not in shown


def test_a_hub_out_of_reach_and_a_pattern_without_files(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = resolve("model", "some/model")
    with pytest.raises(InputError, match="no file 'none-"):
        fetch(source, ["none-*"], tmp_path)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="model some/model: the hub gave no answer; check the network"):
        resolve("model", "some/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="check the network, HF_ENDPOINT and HF_HUB_OFFLINE"):
        fetch(source, ["config.json"], tmp_path)
