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
Ask = Callable[[Document, random.Random], Sequence[Asked]]
AskRich = Callable[[RichDocument, random.Random], Sequence[Asked]]


class Drawn(NamedTuple):
    """An image and all that can be asked about it, in the order in which it is."""

    image: Image.Image
    asked: Sequence[Asked]


@dataclass(frozen=True)
class SyntheticBenchmark:
    """Questions about drawn documents. Columns of a row: question (str), answers (list of str).

    Args:
        new_tokens: the longest answer, for every family.
        draw: an image and questions with answers from a generator of random numbers.
        score: the metric of a row, in [0, 1], the same in every rule set.
        questions: about one image, at most: those about one that answers fewer.
        several: whether there can be more than one.
    """

    name: str
    metric: str
    new_tokens: int
    draw: Callable[[random.Random], Drawn] = field(repr=False)
    score: Callable[[Row, str], float] = field(repr=False)
    questions: int = 1
    several: bool = True

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
            for turn, (question, answer) in enumerate(
                drawn.asked[: min(self.questions, count - index * self.questions)]
            ):
                data = {"question": question, "answers": [answer]}
                name = own if self.questions == 1 else f"{own}-{turn}"
                yield Sample(name, own, (answer,), data, image)

    def prompt(self, row: Row, family: str = "", *, rules: str = "paper") -> str:
        """The question, for every family."""
        return str(row["question"])


def draw_page(rng: random.Random, *, ask: Ask, kind: str = "page") -> Drawn:
    """A page or a chart in one face, and questions about it."""
    document = generate_document(rng, split="eval", kind=kind)
    return Drawn(document.image, ask(document, rng))


def ask_values(document: Document, rng: random.Random) -> list[Asked]:
    """Ask for the value of every key of a page, or of every bar of a chart, in random order."""
    first = rng.choice(document.lines)
    others = [line for line in document.lines if line is not first]
    return [(document.question(line), line.value) for line in [first, *rng.sample(others, len(others))]]


def draw_rich(rng: random.Random, *, ask: AskRich, kinds: Sequence[str], fonts: str) -> Drawn:
    """A richer page of one of some kinds, in a face of a group, and the questions about it."""
    document = generate_rich(rng, split="eval", fonts=fonts, kind=rng.choice(kinds))
    return Drawn(document.image, ask(document, rng))


def ask_all(document: RichDocument, rng: random.Random) -> list[Asked]:
    """The questions that a page answers, two or more, in random order."""
    asked = rng.sample(document.questions, len(document.questions))
    return [(question.prompt, question.answer) for question in asked]
