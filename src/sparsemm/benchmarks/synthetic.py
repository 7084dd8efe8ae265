"""What the benchmarks of the embedded models share: documents drawn from a seed, so that no file is needed.

Sample ``i`` depends on the benchmark's name, the seed and ``i`` alone: shards and counts never change it.
A page is drawn once, when its sample is loaded, and held as PNG (20 to 30 KB).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from sparsemm.benchmarks.base import Generation, Row, Sample, shard_indices
from sparsemm.benchmarks.images import EncodedImage
from sparsemm.benchmarks.metric import Metric, RowMetric
from sparsemm.documents.pages import Document, generate_document
from sparsemm.errors import InputError

Ask = Callable[[Document, random.Random], tuple[str, str]]


@dataclass(frozen=True)
class SyntheticBenchmark:
    """Questions about drawn documents, one a document. Columns of a row: question (str), answers (list of str).

    Args:
        new_tokens: the longest answer, for every family.
        ask: question and answer for a document; draws from the generator that drew the document.
        score: the metric of a row, in [0, 1], the same in every rule set.
        kind: of document, ``page`` or ``chart``.
    """

    name: str
    metric: str
    new_tokens: int
    ask: Ask = field(repr=False)
    score: Callable[[Row, str], float] = field(repr=False)
    kind: str = "page"

    @property
    def rules(self) -> Mapping[str, Metric]:
        """The one metric, under both names."""
        metric = RowMetric(self.score)
        return {"paper": metric, "current": metric}

    def generation(self, family: str) -> Generation:
        """The same for every family; nothing stops an answer early."""
        return Generation(self.new_tokens)

    def load(self, count: int | None, seed: int, *, shard: int = 0, shards: int = 1) -> Iterator[Sample]:
        """Yield the shard's samples; see `Benchmark.load`.

        Raises:
            InputError: for a shard out of range, or all samples: there is no end of them.
        """
        if count is None:
            raise InputError(
                f"benchmarks.{self.name}.samples: documents are drawn without end; give a number"
            )
        return self._samples(count, seed, shard, shards)

    def _samples(self, count: int, seed: int, shard: int, shards: int) -> Iterator[Sample]:
        for index in shard_indices(count, shard, shards):
            rng = random.Random(f"{self.name}-{seed}-{index}")
            document = generate_document(rng, split="eval", kind=self.kind)
            question, answer = self.ask(document, rng)
            own = f"{self.name}-{index:06d}"
            image = EncodedImage.of(own, document.image)
            yield Sample(own, own, (answer,), {"question": question, "answers": [answer]}, image)

    def prompt(self, row: Row, family: str = "", *, rules: str = "paper") -> str:
        """The question, for every family."""
        return str(row["question"])


def ask_value(document: Document, rng: random.Random) -> tuple[str, str]:
    """Ask for the value of one key of a page, or of one bar of a chart."""
    line = rng.choice(document.lines)
    return document.question(line), line.value
