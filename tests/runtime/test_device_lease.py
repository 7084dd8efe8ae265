"""Device leases: locks between processes, the scheduler's choice, the CPU switch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sparsemm.errors import InputError
from sparsemm.runtime.device_lease import VISIBLE, lease_device, parse_devices

LISTING = """GPU 0: NVIDIA A100 (UUID: GPU-aaaa)
GPU 1: NVIDIA A100 (UUID: GPU-bbbb)
  MIG 3g.20gb     Device  0: (UUID: MIG-1111)
  MIG 3g.20gb     Device  1: (UUID: MIG-2222)
"""


def test_split_gpu_is_replaced_by_its_parts() -> None:
    assert parse_devices(LISTING) == ["GPU-aaaa", "MIG-1111", "MIG-2222"]
    assert parse_devices("") == []


def test_each_lease_takes_another_device_and_release_frees_it(tmp_path: Path) -> None:
    def take() -> tuple[str | None, dict[str, str], object]:
        environ: dict[str, str] = {}
        lease = lease_device("cuda", devices=["GPU-a", "GPU-b"], environ=environ, lock_dir=tmp_path)
        return lease.uuid, environ, lease

    first, first_environ, lease = take()
    second, second_environ, _keep = take()
    assert (first, second) == ("GPU-a", "GPU-b")
    assert (first_environ[VISIBLE], second_environ[VISIBLE]) == ("GPU-a", "GPU-b")
    with pytest.raises(InputError, match=r"all 2 GPUs are taken.*--resources gpu=2") as caught:
        take()
    assert "\n" not in str(caught.value)
    lease.release()  # type: ignore[attr-defined]
    lease.release()  # type: ignore[attr-defined]
    assert take()[0] == "GPU-a"


def test_kernel_frees_the_lock_of_a_killed_process(tmp_path: Path) -> None:
    code = (
        "import sys; from sparsemm.runtime.device_lease import lease_device\n"
        f"lease = lease_device('cuda', devices=['GPU-a'], environ={{}}, lock_dir={str(tmp_path)!r})\n"
        "print(lease.uuid, flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "GPU-a"
    with pytest.raises(InputError, match="taken"):
        lease_device("cuda", devices=["GPU-a"], environ={}, lock_dir=tmp_path)
    child.kill()
    child.communicate()
    assert lease_device("cuda", devices=["GPU-a"], environ={}, lock_dir=tmp_path).uuid == "GPU-a"


def test_schedulers_choice_stands_without_a_lock(tmp_path: Path) -> None:
    environ = {VISIBLE: "2"}
    lease = lease_device("auto", devices=["GPU-a"], environ=environ, lock_dir=tmp_path)
    assert (lease.device, lease.uuid, environ) == ("cuda", None, {VISIBLE: "2"})
    assert not list(tmp_path.iterdir())


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
