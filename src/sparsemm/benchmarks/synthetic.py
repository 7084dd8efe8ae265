"""What the benchmarks of the embedded models share: documents drawn from a seed, so that no file is needed.

Image ``i`` and its questions depend on the benchmark's name, the seed and ``i`` alone: shards and counts never change
them. A page is drawn once, when its first sample is loaded, and held as PNG (20 to 70 KB).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sparsemm.benchmarks.base import Generation, Row, Sample, shard_indices
from sparsemm.benchmarks.images import EncodedImage
from sparsemm.benchmarks.metric import Metric, RowMetric
from sparsemm.documents.pages import Document, generate_document
from sparsemm.documents.rich import RichDocument, generate_rich
from sparsemm.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

Asked = tuple[str, str]  # question, answer
Ask = Callable[[Document, random.Random], Asked]
AskRich = Callable[[RichDocument, random.Random], Sequence[Asked]]


class Drawn(NamedTuple):
    """An image and what is asked about it."""

    image: Image.Image
    asked: Sequence[Asked]


@dataclass(frozen=True)
class SyntheticBenchmark:
    """Questions about drawn documents. Columns of a row: question (str), answers (list of str).

    Args:
        new_tokens: the longest answer, for every family.
        draw: an image and `questions` questions with answers from a generator of random numbers.
        score: the metric of a row, in [0, 1], the same in every rule set.
        questions: questions about one image.
    """

    name: str
    metric: str
    new_tokens: int
    draw: Callable[[random.Random], Drawn] = field(repr=False)
    score: Callable[[Row, str], float] = field(repr=False)
    questions: int = 1

    @property
    def rules(self) -> Mapping[str, Metric]:
        """The one metric, under both names."""
        metric = RowMetric(self.score)
        return {"paper": metric, "current": metric}

    def generation(self, family: str) -> Generation:
        """The same for every family; nothing stops an answer early."""
        return Generation(self.new_tokens)

    def load(self, count: int | None, seed: int, *, shard: int = 0, shards: int = 1) -> Iterator[Sample]:
        """Yield the shard's samples; see `Benchmark.load`. Questions about one image are in one shard.

        Raises:
            InputError: for a shard out of range, or all samples: there is no end of them.
        """
        if count is None:
            raise InputError(
                f"benchmarks.{self.name}.samples: documents are drawn without end; give a number"
            )
        return self._samples(count, seed, shard, shards)

    def _samples(self, count: int, seed: int, shard: int, shards: int) -> Iterator[Sample]:
        images = -(-count // self.questions)  # the last one may get fewer questions
        for index in shard_indices(images, shard, shards):
            drawn = self.draw(random.Random(f"{self.name}-{seed}-{index}"))
            own = f"{self.name}-{index:06d}"
            image = EncodedImage.of(own, drawn.image)
            for turn, (question, answer) in enumerate(drawn.asked[: count - index * self.questions]):
                data = {"question": question, "answers": [answer]}
                name = own if self.questions == 1 else f"{own}-{turn}"
                yield Sample(name, own, (answer,), data, image)

    def prompt(self, row: Row, family: str = "", *, rules: str = "paper") -> str:
        """The question, for every family."""
        return str(row["question"])


def draw_page(rng: random.Random, *, ask: Ask, kind: str = "page") -> Drawn:
    """A page or a chart in one face, and one question about it."""
    document = generate_document(rng, split="eval", kind=kind)
    return Drawn(document.image, [ask(document, rng)])


def ask_value(document: Document, rng: random.Random) -> Asked:
    """Ask for the value of one key of a page, or of one bar of a chart."""
    line = rng.choice(document.lines)
    return document.question(line), line.value


def draw_rich(rng: random.Random, *, ask: AskRich, kinds: Sequence[str], fonts: str) -> Drawn:
    """A richer page of one of some kinds, in a face of a group, and the questions about it."""
    document = generate_rich(rng, split="eval", fonts=fonts, kind=rng.choice(kinds))
    return Drawn(document.image, ask(document, rng))


def ask_two(document: RichDocument, rng: random.Random) -> list[Asked]:
    """Two of the questions that a page answers."""
    return [(question.prompt, question.answer) for question in rng.sample(document.questions, 2)]
