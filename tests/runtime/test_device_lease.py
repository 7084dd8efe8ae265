"""Device leases: locks between processes, waiting, the scheduler's choice, the CPU switch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sparsemm.errors import InputError
from sparsemm.runtime.device_lease import VISIBLE, Lease, Waiting, lease_device
from sparsemm.runtime.gpus import parse_devices

from helpers.leases import rounds

LISTING = """GPU 0: NVIDIA A100 (UUID: GPU-aaaa)
GPU 1: NVIDIA A100 (UUID: GPU-bbbb)
  MIG 3g.20gb     Device  0: (UUID: MIG-1111)
  MIG 3g.20gb     Device  1: (UUID: MIG-2222)
"""


class Patience:
    """A wait that takes no time: every pause is one second, and after some of them something happens."""

    def __init__(self, events: dict[int, Any] | None = None, most: int = 1000) -> None:
        self.now, self.events, self.most, self.said = 0, events or {}, most, []
        self.said: list[str] = []

    @property
    def waiting(self) -> Waiting:
        return Waiting(self.said.append, self._pause, lambda: float(self.now))

    def _pause(self, _: float) -> None:
        self.now += 1
        if self.now > self.most:
            raise TimeoutError
        self.events.get(self.now, lambda: None)()


def take(folder: Path, *names: str, patience: Patience | None = None, **options: Any) -> Lease:
    waiting = (patience or Patience(most=0)).waiting
    options = {"environ": {}, "used": lambda uuid: None} | options
    return lease_device("cuda", devices=names, lock_dir=folder, waiting=waiting, **options)


def test_split_gpu_is_replaced_by_its_parts() -> None:
    assert parse_devices(LISTING) == ["GPU-aaaa", "MIG-1111", "MIG-2222"]
    assert parse_devices("") == []


def test_each_lease_takes_another_device_and_release_frees_it(tmp_path: Path) -> None:
    environs: list[dict[str, str]] = [{}, {}]
    leases = [take(tmp_path, "GPU-a", "GPU-b", environ=environ) for environ in environs]
    assert [lease.uuids for lease in leases] == [("GPU-a",), ("GPU-b",)]
    assert [environ[VISIBLE] for environ in environs] == ["GPU-a", "GPU-b"]
    with pytest.raises(TimeoutError):
        take(tmp_path, "GPU-a", "GPU-b")
    leases[0].release()
    leases[0].release()
    assert take(tmp_path, "GPU-a", "GPU-b").uuids == ("GPU-a",)


def test_runs_in_other_folders_see_each_others_leases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # of the machine
    leases = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        leases.append(lease_device("cuda", devices=["GPU-a", "GPU-b"], environ={}, used=lambda uuid: None))
    assert [lease.uuids for lease in leases] == [("GPU-a",), ("GPU-b",)]


def test_a_job_waits_and_says_who_holds_what_at_once_and_every_minute(tmp_path: Path) -> None:
    first = take(tmp_path, "GPU-a", "GPU-b", gpus=2, holder="score_heads vicuna")
    patience = Patience({150: first.release})
    assert take(tmp_path, "GPU-a", "GPU-b", patience=patience).uuids == ("GPU-a",)
    assert len(patience.said) == 3
    for line in patience.said:
        assert line.startswith("device: waiting for 1 of 2 GPUs (GPU-a: score_heads vicuna, process ")
        assert "; GPU-b: score_heads vicuna, " in line
        assert "\n" not in line


def test_two_gpus_are_taken_as_they_become_free(tmp_path: Path) -> None:
    one, other = (take(tmp_path, "GPU-a", "GPU-b") for _ in range(2))
    environ: dict[str, str] = {}
    patience = Patience({3: other.release, 9: one.release})
    pair = take(tmp_path, "GPU-a", "GPU-b", gpus=2, environ=environ, patience=patience)
    assert (pair.uuids, environ[VISIBLE]) == (("GPU-b", "GPU-a"), "GPU-b,GPU-a")
    with pytest.raises(InputError, match="takes 3 GPUs and 2 can be seen; lower the rule's gpu"):
        take(tmp_path, "GPU-a", "GPU-b", gpus=3)


def test_a_wait_that_is_broken_off_leaves_nothing_locked(tmp_path: Path) -> None:
    held = take(tmp_path, "GPU-a")
    with pytest.raises(TimeoutError):
        take(tmp_path, "GPU-a", "GPU-b", gpus=2)
    assert take(tmp_path, "GPU-b").uuids == ("GPU-b",)
    held.release()
    assert take(tmp_path, "GPU-a").uuids == ("GPU-a",)


def test_a_gpu_that_strangers_use_is_passed_over_and_told(tmp_path: Path) -> None:
    shares = {"GPU-a": 0.9, "GPU-b": 0.02}
    assert take(tmp_path, "GPU-a", "GPU-b", used=shares.get).uuids == ("GPU-b",)
    patience = Patience({5: lambda: shares.update({"GPU-a": 0.0})})
    assert take(tmp_path, "GPU-a", patience=patience, used=shares.get).uuids == ("GPU-a",)
    wanted = "waiting for 1 of 1 GPUs (GPU-a: 90% of its memory is used by a program without a lease)"
    assert patience.said == [f"device: {wanted}"]


def test_kernel_frees_the_lock_of_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import sys; from sparsemm.runtime.device_lease import lease_device\n"
        f"lease = lease_device('cuda', devices=['GPU-a'], environ={{}}, lock_dir={str(tmp_path)!r})\n"
        "print(*lease.uuids, flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "GPU-a"
    with pytest.raises(TimeoutError):
        take(tmp_path, "GPU-a")

    def kill() -> None:
        child.kill()
        child.communicate()

    assert take(tmp_path, "GPU-a", patience=Patience({2: kill})).uuids == ("GPU-a",)


def test_jobs_that_are_killed_at_random_neither_share_a_device_nor_block_others(tmp_path: Path) -> None:
    """200 rounds by `python tests/helpers/leases.py 200`."""
    assert rounds(8, seed=3, folder=tmp_path) == {"double": 0, "stuck": 0, "silent": 0}


def test_schedulers_choice_stands_without_a_lock(tmp_path: Path) -> None:
    environ = {VISIBLE: "2"}
    lease = lease_device("auto", devices=["GPU-a"], environ=environ, lock_dir=tmp_path)
    assert (lease.device, lease.uuids, environ) == ("cuda", (), {VISIBLE: "2"})
    pair = {VISIBLE: "MIG-1,MIG-2"}
    assert lease_device("auto", gpus=2, devices=[], environ=pair, lock_dir=tmp_path).uuids == ()
    assert not list(tmp_path.iterdir())


def test_of_more_devices_than_a_job_takes_it_leases_some(tmp_path: Path) -> None:
    """Numbers stand for GPUs of this machine: runs with and without the variable see one lock."""
    environ = {VISIBLE: "1,0"}
    assert take(tmp_path, "GPU-a", "GPU-b", environ=environ).uuids == ("GPU-b",)
    assert environ == {VISIBLE: "1"}
    assert take(tmp_path, "GPU-a", "GPU-b").uuids == ("GPU-a",)
    with pytest.raises(InputError, match="takes 3 GPUs and 2 can be seen"):
        take(tmp_path, environ={VISIBLE: "0,1"}, gpus=3)


@pytest.mark.parametrize(("want", "gpus"), [("cpu", 1), ("auto", 0), ("cuda", 0)])
def test_cpu_switch_hides_every_gpu(tmp_path: Path, want: str, gpus: int) -> None:
    environ: dict[str, str] = {}
    lease = lease_device(want, gpus=gpus, devices=["GPU-a"], environ=environ, lock_dir=tmp_path)
    assert (lease.device, environ[VISIBLE]) == ("cpu", "")


def test_without_a_gpu_auto_is_cpu_and_cuda_is_an_error(tmp_path: Path) -> None:
    assert lease_device("auto", devices=[], environ={}, lock_dir=tmp_path).device == "cpu"
    assert lease_device("auto", environ={VISIBLE: ""}, lock_dir=tmp_path).device == "cpu"
    with pytest.raises(InputError, match="no GPU is visible"):
        lease_device("cuda", devices=[], environ={}, lock_dir=tmp_path)
    with pytest.raises(InputError, match="'tpu' is unknown"):
        lease_device("tpu", environ={})
