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

    @property
    def dtype(self) -> str:
        """Precision of the weights: the configuration's on a GPU, float32 on a CPU (half precision is slow there)."""
        return "float32" if self.device == "cpu" else str(self.snakemake.params.model["dtype"])

    def load_model(self) -> Any:
        """The rule's model and processor, on the job's device, as its entry in the configuration says."""
        from sparsemm.models import load_model

        return load_model(self._folder(), device=self.device, dtype=self.dtype, **self._prompt())

    def load_processor(self) -> Any:
        """The processor of the rule's model, as its entry in the configuration says; no model is loaded."""
        from sparsemm.models import load_processor

        return load_processor(self._folder(), **self._prompt())

    def _limits(self, processor: Any) -> dict[str, Any]:
        """The image limits, with one line where a model that the paper's rules are for has others than the paper."""
        from sparsemm.models import image_limits, limits_note

        model = self.snakemake.params.model
        asked = "hub" in model or model.get("prompt") == "rules"
        return {
            "image_limits": image_limits(processor),
            "limits_note": limits_note(processor) if asked else "",
        }

    @property
    def probe_name(self) -> str:
        """What the rule's probe images are: a folder, "generated", or "generated: wild" of a further set."""
        probe = self.snakemake.params.settings["probe"]
        generated = probe["source"] == "generated" and "kind" in probe
        return f"generated: {probe['kind']}" if generated else str(probe["source"])

    @property
    def probe_prompt(self) -> str:
        """What the model is asked about the rule's probe images; a further set has the question of its kind."""
        probe = self.snakemake.params.settings["probe"]
        if "prompt" in probe:
            return str(probe["prompt"])
        from sparsemm.documents.scenes import PROMPTS

        return PROMPTS[probe["kind"]]

    def probe_set(self) -> dict[str, str]:
        """What the probe images are from, for `record`. Raises InputError where the lock file names other data."""
        from sparsemm.sources.fetching import read_marker
        from sparsemm.sources.lock import LOCK_FILE
        from sparsemm.sources.obtain import check_commit

        fetched = list(self.snakemake.input)
        if not fetched:
            return {"dataset": self.probe_name}
        marker = fetched[0]
        found = read_marker(marker)
        check_commit(LOCK_FILE, "dataset", found["id"], found["commit"], marker)
        return {"dataset": found["id"], "dataset_revision": found["commit"]}

    def dataset(self, benchmark: Any) -> dict[str, str]:
        """What a benchmark's rows are from, for `record`. Raises InputError where the lock file names other data."""
        if not hasattr(benchmark, "hub"):
            return {"dataset": benchmark.name}
        from sparsemm.benchmarks.stored import INDEX, stored_origin
        from sparsemm.sources.lock import LOCK_FILE
        from sparsemm.sources.obtain import check_commit

        origin = stored_origin(benchmark.folder)
        index = benchmark.folder / INDEX
        check_commit(LOCK_FILE, "dataset", origin["id"], origin["commit"], index)
        return {"dataset": origin["id"], "dataset_revision": origin["commit"]}

    def benchmark(self) -> Any:
        """The rule's benchmark, as its entry in the configuration says."""
        from sparsemm.benchmarks import get_benchmark

        entry = self.snakemake.params.benchmark
        options = {key: entry[key] for key in ("max_new_tokens", "questions") if key in entry}
        return get_benchmark(self.snakemake.wildcards.benchmark, **options)

    def shard(self) -> Any:
        """The rule's shard of a benchmark, as the configuration asks for it."""
        from sparsemm.evaluation.configured import Shard

        params, wildcards = self.snakemake.params, self.snakemake.wildcards
        entries = {"model": dict(params.model), "benchmark": dict(params.benchmark)}
        entries["settings"] = dict(params.settings)
        names = {"model_name": str(wildcards.model), "benchmark_name": str(wildcards.benchmark)}
        return Shard(**names, **entries, number=params.shard)

    def head_scores(self) -> Any:
        """The visual scores that the rule reads. Raises InputError where they are another model's."""
        from sparsemm.heads.scores import HeadScores

        scores = HeadScores.load(self.snakemake.input.scores)
        scores.require_model(self.snakemake.wildcards.model)
        return scores

    def set_scores(self) -> dict[str, Any]:
        """The visual scores of the further probe sets that the rule reads, by the names of the sets."""
        from sparsemm.heads.scores import HeadScores

        found = {Path(path).parent.name: HeadScores.load(path) for path in self.snakemake.input.set_scores}
        for scores in found.values():
            scores.require_model(self.snakemake.wildcards.model)
        return found

    def run_settings(self, batch_size: int) -> Any:
        """How the rule's answers are made."""
        from sparsemm.evaluation.settings import RunSettings

        params = self.snakemake.params
        rules, generation = params.settings["rules"], params.settings["generation"]
        return RunSettings(batch_size=batch_size, rules=rules, generation=generation, workdir=params.work)

    def write_answers(self, path: str, frame: Any, kind: str, **made: Any) -> None:
        """Write answers with how they were made, and let go of the finished batches.

        Args:
            path: of the result file.
            frame: its rows.
            kind: of result file.
            **made: loaded, benchmark, samples and settings of the run; where the rows can be computed again from
                the configuration alone, also its shard.
        """
        from sparsemm.evaluation.settings import run_facts
        from sparsemm.results import resume
        from sparsemm.results.parquet import write_table

        params, loaded, benchmark = self.snakemake.params, made["loaded"], made["benchmark"]
        facts = run_facts(loaded, benchmark, made["samples"], made["settings"]) | self.dataset(benchmark)
        facts |= {"limit": params.settings["limit"], "unreadable": frame.attrs["unreadable"]}
        if "shard" in made:
            facts["configuration"] = made["shard"].facts()
        write_table(path, frame, kind, self.record(loaded.processor, **facts))
        resume.discard(params.work)

    def _folder(self) -> str:
        """Where the rule's model is."""
        from sparsemm.models.configured import model_folder

        return model_folder(self.snakemake.wildcards.model, self.snakemake.params.model)

    def _prompt(self) -> dict[str, Any]:
        """Chat format and images: arguments of `load_model` and `load_processor`."""
        from sparsemm.models.configured import prompt_arguments

        return prompt_arguments(self.snakemake.params.model, self.snakemake.params.settings["rules"])

    def record(self, processor: Any = None, **facts: Any) -> dict[str, Any]:
        """Metadata of a result file: how it was made.

        Args:
            processor: of the model, for the image limits.
            **facts: what else the file should say, such as dataset and metric.
        """
        from sparsemm.results.provenance import input_digests, provenance

        params, wildcards = dict(self.snakemake.params.items()), dict(self.snakemake.wildcards.items())
        settings = params["settings"]
        config = settings | {key: params[key] for key in ("model", "benchmark") if key in params}
        known = {"seed": settings["seed"], "inputs": input_digests(map(str, self.snakemake.input)), **facts}
        if "model" in wildcards:
            known["model"] = wildcards["model"]
        if "device" in settings:
            known["device"] = self.device
            if "model" in params:
                known["dtype"] = self.dtype
        if processor is not None:
            known |= self._limits(processor)
        return provenance(config, **known)


def say_fetches() -> None:
    """One line in the log for every file that is fetched, and no progress bars."""
    import logging

    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("sparsemm").setLevel(logging.INFO)


@contextmanager
def job(snakemake: Any, *, measured: bool = False) -> Iterator[Job]:
    """Run a script's body with all output in the rule's log and exit 1 on an error.

    An InputError is the user's to mend: one line in the log and on the terminal. Anything else is ours: the log
    gets the traceback, the terminal its last line. A rule that runs a model asks for `gpu` and gets a device before
    torch starts. A job whose memory is `measured` leaves the allocator as it is.
    """
    from sparsemm.errors import InputError
    from sparsemm.runtime.device_lease import VISIBLE, Waiting, lease_device
    from sparsemm.runtime.malloc import disable_malloc_trim
    from sparsemm.runtime.parents import end_with_program

    end_with_program()  # an orphan would hold its GPU, and write the files of the job that replaces it
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
        waiting = Waiting(lambda line: _tell(line, terminal))
        holder = " ".join([snakemake.rule, *map(str, snakemake.wildcards)])
        with lease_device(wanted, gpus=int(gpus), holder=holder, waiting=waiting) as lease:
            if not measured:
                disable_malloc_trim()
            device = _start_torch(lease.device, wanted, snakemake.threads)
            print(f"device: {device} (CUDA_VISIBLE_DEVICES={os.environ.get(VISIBLE, 'not set')})", flush=True)
            yield Job(snakemake, device, snakemake.threads)
    except InputError as error:
        _stop(str(error), terminal)
    except Exception as error:
        traceback.print_exc()
        _stop(
            f"{snakemake.rule}: {type(error).__name__}: {error} (traceback in {log})", terminal, logged=True
        )


def _tell(line: str, terminal: int) -> None:
    """Say something in the job's log and on the terminal."""
    print(line, flush=True)
    os.write(terminal, f"{line}\n".encode())


def rows_asked(samples: int | str) -> int | None:
    """The configuration's number of samples as `Benchmark.load` takes it: None for "all"."""
    return None if samples == "all" else int(samples)


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
