"""Batches of samples: length bucketing by image size, and one batch through the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from sparsemm.benchmarks import Benchmark, Sample
from sparsemm.evaluation.engine.run import EngineOutput, run_cells
from sparsemm.evaluation.settings import RunSettings
from sparsemm.models.loading import Loaded, build_inputs
from sparsemm.models.text import end_tokens
from sparsemm.policies import Policy


def batches(samples: Sequence[Sample], size: int) -> Iterator[list[Sample]]:
    """Length bucketing: batches of samples with similar image sizes, so that little is padded.

    The order depends on the samples' order and image sizes alone; no image is decoded.
    """
    ordered = sorted(samples, key=_area_and_size)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def answer(
    loaded: Loaded,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    policies: Sequence[Policy],
    settings: RunSettings,
) -> tuple[list[list[str]], EngineOutput]:
    """Answer one batch under every policy.

    Returns:
        The answers as text, [C][B], and the engine's output.
    """
    output = run_cells(
        loaded.model,
        _inputs(loaded, benchmark, samples, settings.rules),
        policies,
        max_new_tokens=settings.new_tokens(benchmark, loaded.family),
        stop=end_tokens(loaded.model),
    )
    decode = loaded.processor.tokenizer.decode
    texts = [[decode(tokens, skip_special_tokens=True).strip() for tokens in cell] for cell in output.tokens]
    return texts, output


def _inputs(
    loaded: Loaded, benchmark: Benchmark, samples: Sequence[Sample], rules: str
) -> dict[str, torch.Tensor]:
    """Model inputs of a batch. The only place where images are decoded; they are freed before the model runs."""
    return build_inputs(
        loaded,
        [sample.image.open() for sample in samples],
        [benchmark.prompt(sample.data, loaded.family, rules=rules) for sample in samples],
        loaded.model.device,
    )


def _area_and_size(sample: Sample) -> tuple[int, tuple[int, int]]:
    width, height = sample.image.size
    return width * height, (width, height)
