"""Benchmarks of the embedded models: documents drawn from a seed, so that no file is needed.

Sample ``i`` depends on the benchmark's name, the seed and ``i`` alone: shards and counts never change it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from sparsemm.benchmarks.base import Sample, shard_indices
from sparsemm.documents.pages import READ_PROMPT, Document, generate_document
from sparsemm.metrics import anls, contains_accuracy, relaxed_accuracy


@dataclass(frozen=True)
class SynthDocVQA:
    """The value of one KEY of a page; ANLS."""

    name: str = "synth-docvqa"
    metric: str = "ANLS"
    max_new_tokens: int = 12
    kind: str = "page"

    def load(self, count: int, seed: int, *, shard: int = 0, shards: int = 1) -> Iterator[Sample]:
        """Yield the shard's samples; see `Benchmark.load`."""
        for index in shard_indices(count, shard, shards):
            rng = random.Random(f"{self.name}-{seed}-{index}")
            document = generate_document(rng, split="eval", kind=self.kind)
            prompt, answer = self.ask(document, rng)
            yield Sample(f"{self.name}-{index:06d}", document.image, prompt, (answer,))

    def ask(self, document: Document, rng: random.Random) -> tuple[str, str]:
        """The prompt and its answer for one document."""
        line = rng.choice(document.lines)
        return document.question(line), line.value

    def score(self, prediction: str, sample: Sample) -> float:
        """ANLS of the prediction."""
        return float(anls(prediction, list(sample.answers)))


@dataclass(frozen=True)
class SynthOCR(SynthDocVQA):
    """Read the whole page; right if it contains one value drawn from the page."""

    name: str = "synth-ocr"
    metric: str = "accuracy"
    max_new_tokens: int = 160

    def ask(self, document: Document, rng: random.Random) -> tuple[str, str]:
        """The reading prompt; the answer is one drawn value (short keys could be contained by chance)."""
        return READ_PROMPT, rng.choice(document.lines).value

    def score(self, prediction: str, sample: Sample) -> float:
        """Contains-accuracy of the prediction."""
        return float(contains_accuracy(prediction, list(sample.answers), dataset=sample.dataset))


@dataclass(frozen=True)
class SynthChart(SynthDocVQA):
    """The number of one bar of a chart; relaxed accuracy."""

    name: str = "synth-chart"
    metric: str = "relaxed accuracy"
    max_new_tokens: int = 8
    kind: str = "chart"

    def score(self, prediction: str, sample: Sample) -> float:
        """Relaxed accuracy of the prediction."""
        return float(relaxed_accuracy(prediction, sample.answers[0]))
