"""What every rule's script needs around its call to the library: the log, the device, errors, the result's metadata."""

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
    """What a script runs on.

    Attributes:
        snakemake: the script's `snakemake` object.
        device: "cpu" or "cuda"; "cpu" for a rule that asks for no GPU.
        threads: of torch.
    """

    snakemake: Any
    device: str
    threads: int

    def record(self, processor: Any = None, **facts: Any) -> dict[str, Any]:
        """Metadata of a result file: how it was made.

        Args:
            processor: of the model, for the image limits.
            **facts: what else the file should say, such as dataset and metric.
        """
        from sparsemm.results.provenance import provenance

        params, wildcards = dict(self.snakemake.params.items()), dict(self.snakemake.wildcards.items())
        settings = params["settings"]
        config = settings | {key: params[key] for key in ("model", "benchmark") if key in params}
        known = {"seed": settings["seed"], **facts}
        if "model" in wildcards:
            known["model"] = wildcards["model"]
        if "device" in settings:
            known["device"] = self.device
        if processor is not None:
            known["image_limits"] = image_limits(processor)
        return provenance(config, **known)


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
            yield Job(snakemake, "cpu", snakemake.threads)
            return
        wanted = snakemake.params.settings["device"]
        with lease_device(wanted, gpus=int(gpus)) as lease:
            if not measured:
                disable_malloc_trim()
            yield Job(snakemake, _start_torch(lease.device, wanted, snakemake.threads), snakemake.threads)
    except InputError as error:
        _stop(str(error), terminal)
    except Exception as error:
        traceback.print_exc()
        _stop(
            f"{snakemake.rule}: {type(error).__name__}: {error} (traceback in {log})", terminal, logged=True
        )


def image_limits(processor: Any) -> dict[str, Any]:
    """The processor's bounds on an image's size or tiles: scores of reading depend on them."""
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
