"""Batches of samples: length bucketing by image size, and one batch through the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image

from sparsemm.benchmarks import Benchmark, Sample, UnreadableImage
from sparsemm.evaluation.engine.run import EngineOutput, run_cells
from sparsemm.evaluation.images import ImageMemory, split_unreadable
from sparsemm.evaluation.settings import RunSettings
from sparsemm.models.loading import Loaded, build_inputs
from sparsemm.models.text import end_tokens
from sparsemm.policies import Policy


@dataclass(frozen=True)
class Answered:
    """One batch under every policy.

    Attributes:
        samples: those whose image could be decoded.
        unreadable: ids of the others.
        texts: answers, [C][B] over `samples`.
        output: the engine's output; None where there was nothing to answer.
    """

    samples: list[Sample]
    unreadable: list[str]
    texts: list[list[str]]
    output: EngineOutput | None


def batches(samples: Sequence[Sample], size: int) -> Iterator[list[Sample]]:
    """Length bucketing: batches of samples with similar image sizes, so that little is padded.

    Questions about one image stand side by side. The order depends on the samples' order, image ids and image sizes
    alone; no image is decoded.
    """
    first: dict[str, int] = {}
    for number, sample in enumerate(samples):
        first.setdefault(sample.image_id, number)
    ordered = sorted(samples, key=lambda sample: (*_area_and_size(sample), first[sample.image_id]))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def answer(
    loaded: Loaded,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    policies: Sequence[Policy],
    settings: RunSettings,
    memory: ImageMemory | None = None,
) -> Answered:
    """Answer one batch under every policy.

    Args:
        loaded: the model.
        benchmark: of the samples.
        samples: the batch.
        policies: one a cell.
        settings: of the run.
        memory: of encoded images; None to prepare and encode every sample's by itself.
    """
    readable, unreadable, inputs = _inputs(loaded, benchmark, samples, settings.rules, memory)
    if not readable:
        return Answered([], unreadable, [[] for _ in policies], None)
    longest, until = settings.answers_of(benchmark, loaded.family)
    output = run_cells(
        loaded.model,
        inputs,
        policies,
        max_new_tokens=longest,
        stop=end_tokens(loaded.model),
        generation=settings.generation,
        same=[sample.image_id for sample in readable],
    )
    decode = loaded.processor.tokenizer.decode
    texts = [
        [cut(decode(tokens, skip_special_tokens=True), until).strip() for tokens in cell]
        for cell in output.tokens
    ]
    return Answered(readable, unreadable, texts, output)


def cut(text: str, until: Sequence[str]) -> str:
    """The finished answer up to the first stop string in it."""
    return text[: min((found for stop in until if (found := text.find(stop)) >= 0), default=len(text))]


def _inputs(
    loaded: Loaded,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    rules: str,
    memory: ImageMemory | None,
) -> tuple[list[Sample], list[str], dict[str, Any]]:
    """The readable samples, the ids of the others, and model inputs of the readable ones.

    The only place where images are decoded; they are freed before the text model runs.
    """
    images: list[Image] = []
    if memory is None:
        readable, images, unreadable = split_unreadable(samples)
    else:
        readable, unreadable = memory.encode(samples)
    if not readable:
        return [], unreadable, {}
    prompts = [benchmark.prompt(sample.data, loaded.family, rules=rules) for sample in readable]
    if memory is None:
        return readable, unreadable, build_inputs(loaded, images, prompts, loaded.model.device)
    return readable, unreadable, memory.inputs(readable, prompts)


def _area_and_size(sample: Sample) -> tuple[int, tuple[int, int]]:
    try:
        width, height = sample.image.size
    except UnreadableImage:
        width, height = 0, 0
    return width * height, (width, height)
