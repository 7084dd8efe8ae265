"""The lock file completed: by a fetch, by several at once, by `snakemake lock`; ids that fall back."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsemm.errors import InputError
from sparsemm.sources import obtain
from sparsemm.sources.hub import resolve
from sparsemm.sources.lock import LockedFile, Source, read_lock, write_lock
from sparsemm.sources.obtain import Wanted, check_commit, lock_all, locked_source, resolve_first

from helpers.hub import Hub, Repository, local_hub, use_hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a data set under its second name, and a gated one."""
    with local_hub(
        Repository("dataset", "new/set", {"a": b"a"}),
        Repository("dataset", "some/gated", {"a": b"a"}, gated=True),
        Repository("model", "some/model", {"b": b"b"}),
    ) as hub:
        use_hub(hub, tmp_path, monkeypatch)
        yield hub


def test_an_unknown_id_goes_on_to_the_next(hub: Hub) -> None:
    assert resolve_first("dataset", ["old/set", "new/set"]).id == "new/set"
    assert resolve_first("dataset", ["new/set", "some/gated"]).id == "new/set"
    assert hub.asked("some/gated") == 0
    with pytest.raises(
        InputError, match=r"^dataset old/set: not on the hub.*; dataset older/set: not on the hub"
    ):
        resolve_first("dataset", ["old/set", "older/set"])


def test_a_gated_repository_and_a_hub_out_of_reach_stop(hub: Hub) -> None:
    with pytest.raises(InputError, match="dataset some/gated: gated"):
        resolve_first("dataset", ["some/gated", "new/set"])
    hub.faults["old/set"] = [500] * 9
    with pytest.raises(InputError, match="dataset old/set: the hub gave status 500"):
        resolve_first("dataset", ["old/set", "new/set"])
    assert hub.asked("new/set") == 0


def test_a_source_is_added_once_and_then_read(hub: Hub, tmp_path: Path) -> None:
    lock = tmp_path / "config/lock.yaml"
    first = locked_source(lock, "dataset", ["old/set", "new/set"])
    assert read_lock(lock) == {("dataset", "new/set"): first}
    locked_source(lock, "model", ["some/model"])
    asked = len(hub.requests)
    assert locked_source(lock, "dataset", ["old/set", "new/set"]) == first
    assert locked_source(lock, "dataset", ["new/set"], first.commit) == first, "the commit that it is"
    assert len(hub.requests) == asked
    assert len(read_lock(lock)) == 2


def test_another_revision_than_the_locked_one_is_refused(hub: Hub, tmp_path: Path) -> None:
    locked_source(tmp_path / "lock.yaml", "dataset", ["new/set"])
    with pytest.raises(
        InputError,
        match=r"lock.yaml: dataset new/set is locked at revision 'main', the configuration asks for 'v2'; "
        r"delete its entry there or run `snakemake lock`$",
    ):
        locked_source(tmp_path / "lock.yaml", "dataset", ["new/set"], "v2")


def test_lock_keeps_what_fits_and_resolves_the_rest(hub: Hub, tmp_path: Path) -> None:
    lock = tmp_path / "lock.yaml"
    other = Source("model", "other/model", "main", "d" * 40, {"x": LockedFile(1, "0" * 64)})
    old = Source("model", "some/model", "main", "e" * 40, {"x": LockedFile(1, "0" * 64)})
    stale = Source("dataset", "new/set", "v1", "f" * 40, {"x": LockedFile(1, "0" * 64)})
    write_lock(lock, [other, old, stale])
    found = lock_all(lock, [Wanted("dataset", ("old/set", "new/set")), Wanted("model", ("some/model",))])
    assert found == [resolve("dataset", "new/set"), old]
    assert list(read_lock(lock).values()) == [old and other, old, found[0]]
    before = lock.read_bytes()
    with pytest.raises(InputError, match="not on the hub"):
        lock_all(lock, [Wanted("model", ("none/such",)), Wanted("dataset", ("new/set",))])
    assert lock.read_bytes() == before


def test_many_processes_add_their_sources_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolved(kind: str, name: str, revision: str) -> Source:
        return Source(kind, name, revision, "c" * 40, {"x": LockedFile(1, "0" * 64)})

    monkeypatch.setattr(obtain, "resolve", resolved)
    fork = multiprocessing.get_context("fork")
    names = [f"some/model-{number}" for number in range(12)]
    jobs = [
        fork.Process(target=locked_source, args=(tmp_path / "lock.yaml", "model", [name])) for name in names
    ]
    for each in jobs:
        each.start()
    for each in jobs:
        each.join()
    assert [name for _, name in read_lock(tmp_path / "lock.yaml")] == sorted(names)


def test_fetched_data_of_another_commit_are_refused(hub: Hub, tmp_path: Path) -> None:
    lock = tmp_path / "lock.yaml"
    source = locked_source(lock, "dataset", ["new/set"])
    check_commit(lock, "dataset", "new/set", source.commit, "index.parquet")
    check_commit(lock, "dataset", "not/locked", "0" * 40, "index.parquet")
    with pytest.raises(
        InputError, match=r"^index.parquet: holds dataset new/set at commit 000000000000, .*lock.yaml "
    ):
        check_commit(lock, "dataset", "new/set", "0" * 40, "index.parquet")
