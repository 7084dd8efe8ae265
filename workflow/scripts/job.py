"""What every rule's script does around its one call to the library: the log, the device, the way errors are shown."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The checkout's code runs, the same that the rule's code digest hashed, whatever else is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))


@dataclass(frozen=True)
class Job:
    """The device ("cpu" or "cuda"; "cpu" for a rule that asks for no GPU) and the threads a script may use."""

    device: str
    threads: int


@contextmanager
def job(snakemake: Any, *, measured: bool = False) -> Iterator[Job]:
    """Run a script's body with all output in the rule's log and exit 1 on an error.

    An InputError is the user's to mend: one line in the log and on the terminal. Anything else is ours: the log
    gets the traceback, the terminal its last line. A rule that runs a model asks for `gpu` and gets a device before
    torch starts. A job whose memory is `measured` leaves the allocator as it is.
    """
    from sparsemm.errors import InputError
    from sparsemm.runtime.device_lease import lease_device
    from sparsemm.runtime.malloc import disable_malloc_trim

    terminal = os.dup(2)
    log = Path(snakemake.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8", buffering=1) as file:
        sys.stdout.flush()
        # File descriptors, not sys.stderr: native libraries write there too.
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        gpus = snakemake.resources.get("gpu", None)
        os.environ["OMP_NUM_THREADS"] = str(snakemake.threads)
        if gpus is None:
            yield Job("cpu", snakemake.threads)
            return
        wanted = snakemake.params.settings["device"]
        with lease_device(wanted, gpus=int(gpus)) as lease:
            if not measured:
                disable_malloc_trim()
            yield Job(_start_torch(lease.device, wanted, snakemake.threads), snakemake.threads)
    except InputError as error:
        _stop(str(error), terminal)
    except Exception as error:
        traceback.print_exc()
        _stop(
            f"{snakemake.rule}: {type(error).__name__}: {error} (traceback in {log})", terminal, logged=True
        )


def benchmark_record(snakemake: Any, loaded: Any, benchmark: Any, device: str) -> dict[str, Any]:
    """Metadata of a result file of one model on one benchmark."""
    from sparsemm.results.provenance import provenance

    settings, params = snakemake.params.settings, snakemake.params
    return provenance(
        {**settings, "model": params.model, "benchmark": params.benchmark},
        model=snakemake.wildcards.model,
        model_revision=loaded.revision,
        dataset=benchmark.name,
        metric=benchmark.metric,
        seed=settings["seed"],
        image_limits=image_limits(loaded.processor),
        device=device,
    )


def image_limits(processor: Any) -> dict[str, Any]:
    """What bounds an image's size or tiles in this processor, for the record: OCR scores depend on it."""
    found = {}
    keys = ("min_pixels", "max_pixels", "size", "image_grid_pinpoints", "crop_to_patches", "min_patches")
    for key in (*keys, "max_patches"):
        value = getattr(processor.image_processor, key, None)
        if value is not None:
            found[key] = value if isinstance(value, int | list) else dict(value)
    return found


def _start_torch(device: str, wanted: str, threads: int) -> str:
    """The leased device if torch can use it; a CPU build of torch beside a GPU driver means CPU, unless told cuda."""
    import torch

    from sparsemm.errors import InputError

    torch.set_num_threads(threads)
    if device == "cuda" and not torch.cuda.is_available():
        if wanted == "cuda":
            raise InputError(
                "device: cuda was asked for but this torch cannot use the GPU; use device: cpu or auto"
            )
        return "cpu"
    return device


def _stop(message: str, terminal: int, *, logged: bool = False) -> None:
    line = " ".join(message.split()) + "\n"
    sys.stdout.flush()
    sys.stderr.flush()
    if not logged:
        os.write(2, line.encode())
    os.write(terminal, line.encode())
    # Not sys.exit: Snakemake would add a traceback of its own to the one line.
    os._exit(1)
