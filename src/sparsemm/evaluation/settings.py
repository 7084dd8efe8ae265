"""How a benchmark is run, what a result file says of it, and whether an earlier run's batches can be used again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sparsemm.benchmarks import Benchmark, Generation, LazyImage, Sample, UnreadableImage
from sparsemm.benchmarks.scoring import rule_set
from sparsemm.errors import InputError
from sparsemm.models import Loaded, image_limits
from sparsemm.models.generation_settings import in_force
from sparsemm.models.loading import render


@dataclass(frozen=True)
class RunSettings:
    """How `evaluate` and `evaluate_masks` run.

    Attributes:
        batch_size: samples prefilled and decoded at once; so many decoded images are held at most.
        max_new_tokens: longest answer; the benchmark's own by default.
        rules: the rule set whose score is `score`, and whose prompt is asked.
        generation: "model": the settings of the checkpoint's generation_config act as in `generate`; "plain": none.
        workdir: folder for finished batches, so that a killed run resumes there and gives the same bytes. Batches of
            other work (another model, cell, setting or code) are not used.
        progress: show a bar on stderr.
    """

    batch_size: int = 16
    max_new_tokens: int | None = None
    rules: str = "paper"
    generation: str = "model"
    workdir: str | Path | None = None
    progress: bool = True

    def answers_of(self, benchmark: Benchmark, family: str) -> Generation:
        """The longest answer and the stop strings for models of a family."""
        own = benchmark.generation(family)
        return own if self.max_new_tokens is None else own._replace(max_new_tokens=self.max_new_tokens)

    def check(self, benchmark: Benchmark) -> None:
        """Check the values.

        Raises:
            InputError: naming the key, for a batch size or answer length below 1, or an unknown rule set.
        """
        if self.batch_size < 1:
            raise InputError(f"batch_size: {self.batch_size} is not positive; use 1 or more")
        tokens = self.answers_of(benchmark, "").max_new_tokens
        if tokens < 1:
            raise InputError(f"max_new_tokens: {tokens} is not positive; use 1 or more")
        rule_set(benchmark, self.rules)


def run_facts(
    loaded: Loaded, benchmark: Benchmark, samples: Sequence[Sample], settings: RunSettings
) -> dict[str, Any]:
    """What a result file's metadata says of how the samples were answered.

    Raises:
        InputError: for generation settings of the checkpoint that greedy decoding cannot follow.
    """
    longest, until = settings.answers_of(benchmark, loaded.family)
    first = next(iter(samples), None)
    return {
        "model_revision": loaded.revision,
        "metric": benchmark.metric,
        "rules": settings.rules,
        "generation": in_force(loaded.model, settings.generation),
        "max_new_tokens": longest,
        "until": list(until),
        "prompt_example": first and render(loaded.processor, _prompt(loaded, benchmark, first, settings)),
    }


def work_facts(
    loaded: Loaded, benchmark: Benchmark, samples: Sequence[Sample], settings: RunSettings
) -> dict[str, Any]:
    """What the answers depend on besides the cells or masks. Images count by their encoded content."""
    asked = hashlib.sha256()
    for sample in samples:
        prompt = _prompt(loaded, benchmark, sample, settings)
        asked.update(
            repr((sample.id, sample.image_id, prompt, sample.answers, _content(sample.image))).encode()
        )
    return {
        **run_facts(loaded, benchmark, samples, settings),
        "benchmark": benchmark.name,
        "model": [loaded.name, str(loaded.model.dtype), loaded.model.device.type],
        "image_limits": image_limits(loaded.processor),
        "chat_template": str(loaded.processor.chat_template),
        "samples": asked.hexdigest(),
        "batch_size": settings.batch_size,
        "torch": torch.__version__,
    }


def _prompt(loaded: Loaded, benchmark: Benchmark, sample: Sample, settings: RunSettings) -> str:
    return benchmark.prompt(sample.data, loaded.family, rules=settings.rules)


def _content(image: LazyImage) -> object:
    try:
        return image.size, image.digest
    except UnreadableImage:
        return None
