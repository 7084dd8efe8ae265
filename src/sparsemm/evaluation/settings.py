"""How a benchmark is run, and the facts that decide whether an earlier run's batches can be used again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sparsemm.benchmarks import Benchmark, Sample
from sparsemm.benchmarks.scoring import rule_set
from sparsemm.errors import InputError
from sparsemm.models.image_limits import image_limits
from sparsemm.models.loading import Loaded


@dataclass(frozen=True)
class RunSettings:
    """How `evaluate` and `evaluate_masks` run.

    Attributes:
        batch_size: samples prefilled and decoded at once; so many decoded images are held at most.
        max_new_tokens: longest answer; the benchmark's own by default.
        rules: rule set of the metric.
        workdir: folder for finished batches, so that a killed run resumes there and gives the same bytes. Batches of
            other work (another model, cell, setting or code) are not used.
        progress: show a bar on stderr.
    """

    batch_size: int = 16
    max_new_tokens: int | None = None
    rules: str = "paper"
    workdir: str | Path | None = None
    progress: bool = True

    def new_tokens(self, benchmark: Benchmark, family: str = "") -> int:
        """The longest answer of a family's models, in tokens."""
        own = benchmark.generation(family).max_new_tokens
        return own if self.max_new_tokens is None else self.max_new_tokens

    def check(self, benchmark: Benchmark, samples: Sequence[Sample]) -> None:
        """Check that there is something to do.

        Raises:
            InputError: naming the key, for no samples, a batch size or answer length below 1, or an unknown rule set.
        """
        if not samples:
            raise InputError(
                "benchmarks.samples: no sample to evaluate; use 1 or more, and no more shards than samples"
            )
        if self.batch_size < 1:
            raise InputError(f"batch_size: {self.batch_size} is not positive; use 1 or more")
        if self.new_tokens(benchmark) < 1:
            raise InputError(f"max_new_tokens: {self.new_tokens(benchmark)} is not positive; use 1 or more")
        rule_set(benchmark, self.rules)


def work_facts(
    loaded: Loaded, benchmark: Benchmark, samples: Sequence[Sample], settings: RunSettings
) -> dict[str, Any]:
    """What the answers depend on besides the cells or masks. Images count by their encoded content."""
    asked = hashlib.sha256()
    for sample in samples:
        prompt = benchmark.prompt(sample.data, loaded.family, rules=settings.rules)
        image = sample.image
        asked.update(
            repr((sample.id, sample.image_id, prompt, sample.answers, image.size, image.digest)).encode()
        )
    return {
        "model": [loaded.name, loaded.revision, str(loaded.model.dtype), loaded.model.device.type],
        "chat_template": str(loaded.processor.chat_template),
        "images": str(image_limits(loaded.processor)),
        "benchmark": benchmark.name,
        "samples": asked.hexdigest(),
        "batch_size": settings.batch_size,
        "max_new_tokens": settings.new_tokens(benchmark, loaded.family),
        "torch": torch.__version__,
    }
