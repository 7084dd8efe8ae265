"""One shard of a benchmark as the configuration asks for it: samples, cells, settings.

A result file keeps these entries in its metadata, so that its rows can be computed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparsemm.benchmarks import Benchmark, Sample, get_benchmark
from sparsemm.errors import InputError
from sparsemm.evaluation.cells import Cell, make_cells
from sparsemm.evaluation.settings import RunSettings
from sparsemm.models import Loaded, load_model, shape
from sparsemm.models.configured import model_folder, prompt_arguments

_OPTIONS = ("window", "kernel", "rho", "beta", "floor", "seed")  # of policies


@dataclass(frozen=True)
class Shard:
    """What the configuration says of a shard; plain values that JSON stores.

    Attributes:
        model_name: its name in the configuration.
        model: its entry: path, family, dtype and so on.
        benchmark_name: its name.
        benchmark: its entry: samples, shards, batch_size and so on.
        settings: of the run: seed, rules, generation, window, kernel, ranking and so on.
        number: of the shard, from 0.
    """

    model_name: str
    model: Mapping[str, Any]
    benchmark_name: str
    benchmark: Mapping[str, Any]
    settings: Mapping[str, Any]
    number: int

    def facts(self) -> dict[str, Any]:
        """The same as a dict, for a result file's metadata."""
        return asdict(self)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Shard:
        """The shard of `facts`.

        Raises:
            InputError: where something is missing.
        """
        try:
            return cls(**facts)
        except TypeError as error:
            raise InputError("how it was made is not said in full; answer again with this version") from error

    def make_benchmark(self) -> Benchmark:
        """The benchmark."""
        options = {
            key: self.benchmark[key] for key in ("max_new_tokens", "questions") if key in self.benchmark
        }
        return get_benchmark(self.benchmark_name, **options)

    def samples(self, benchmark: Benchmark) -> list[Sample]:
        """The shard's samples, in order."""
        asked = self.benchmark["samples"]
        count = None if asked == "all" else int(asked)
        seed, shards = self.settings["seed"], self.benchmark["shards"]
        return list(benchmark.load(count, seed, shard=self.number, shards=shards))

    def load_model(self, device: str, dtype: str) -> Loaded:
        """The model. Raises InputError as `model_folder` and `load_model`."""
        folder = model_folder(self.model_name, self.model)
        how = prompt_arguments(self.model, self.settings["rules"])
        return load_model(folder, device=device, dtype=dtype, **how)

    def cells(
        self, pairs: Sequence[Sequence[Any]], loaded: Loaded, scores: Any, set_scores: Mapping[str, Any]
    ) -> list[Cell]:
        """The policies of (label, budget) pairs.

        Args:
            pairs: as `make_cells` takes them.
            loaded: the model.
            scores: HeadScores of it.
            set_scores: those of further probe sets, by their names.
        """
        sizes = shape(loaded.model)
        scores.require_model(self.model_name, num_layers=sizes.num_layers, num_heads=sizes.num_heads)
        options = {key: self.settings[key] for key in _OPTIONS}
        options["ranking"] = self.settings["ranking"]["dtype"]
        options |= {"scores": scores, "set_scores": set_scores, "num_kv_heads": sizes.num_kv_heads}
        return make_cells(pairs, **options)

    def run_settings(self, workdir: str | Path | None = None, progress: bool = True) -> RunSettings:
        """How the answers are made."""
        return RunSettings(
            batch_size=self.benchmark["batch_size"],
            rules=self.settings["rules"],
            generation=self.settings["generation"],
            workdir=workdir,
            progress=progress,
        )
