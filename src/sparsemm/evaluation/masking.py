"""Figure 7: answers with the best visual heads, or as many random ones, ablated; the cache stays whole.

What a workflow script calls::

    masking = Masking(head_scores, fractions=[0.02, 0.05], seeds=[0, 1, 2])
    frame = evaluate_masks(loaded, benchmark, samples, masking, RunSettings(batch_size=20))
    write_table(path, frame, "masks", metadata)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm  # type: ignore[import-untyped]

from sparsemm.benchmarks import Benchmark, Sample
from sparsemm.errors import InputError
from sparsemm.evaluation.batches import answer, batches
from sparsemm.evaluation.halving import Halving
from sparsemm.evaluation.images import ImageMemory, image_memory
from sparsemm.evaluation.scoring import SCORES, score_columns
from sparsemm.evaluation.settings import RunSettings, work_facts
from sparsemm.evaluation.unreadable import left_out, take_unreadable
from sparsemm.models.head_masks import mask_heads
from sparsemm.models.loading import Loaded, shape
from sparsemm.policies import FullKV
from sparsemm.results.resume import ResumableWork, Rows

COLUMNS = ["sample_id", "kind", "fraction", "seed", "prediction", "answers", *SCORES]


class Mask(NamedTuple):
    """Query heads to ablate: ``none``, the ``visual`` ones or ``random`` ones of a seed."""

    kind: str
    fraction: float
    seed: int
    heads: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Masking:
    """Which heads are ablated.

    Attributes:
        scores: HeadScores, or an array [L, Hq].
        fractions: shares of the model's query heads.
        seeds: of the random heads, one draw for each at every fraction.
        how: what is zeroed of a head, its ``output`` or its queries (``released``); see `mask_heads`.
    """

    scores: Any
    fractions: Sequence[float]
    seeds: Sequence[int]
    how: str = "output"


def make_masks(values: np.ndarray, fractions: Sequence[float], seeds: Sequence[int]) -> list[Mask]:
    """No mask, then for every fraction the best visual heads and, for every seed, as many of all heads.

    Args:
        values: scores of the query heads, [L, Hq].
        fractions: shares of the model's query heads; at least one head is masked.
        seeds: one draw each; a larger fraction masks the heads of a smaller one and more.

    Raises:
        InputError: for a fraction outside (0, 1], or a fraction or seed that comes twice.
    """
    return masks_of({"visual": values}, fractions, seeds)


def masks_of(
    rankings: Mapping[str, np.ndarray], fractions: Sequence[float], seeds: Sequence[int]
) -> list[Mask]:
    """As `make_masks`, with the best heads of several rankings [L, Hq] by the kind of mask that they make."""
    for name, given in (("fractions", fractions), ("seeds", seeds)):
        if len(set(given)) < len(given):
            raise InputError(f"masking.{name}: {list(given)} has a value twice; list each once")
    masks = [Mask("none", 0.0, 0, ())]
    size, width = next(iter(rankings.values())).shape
    ranked = {kind: np.argsort(-values.ravel(), kind="stable") for kind, values in rankings.items()}
    for fraction in fractions:
        if not 0.0 < fraction <= 1.0:
            raise InputError(
                f"masking.fractions: {fraction} is not a share of the heads; use above 0 and at most 1"
            )
        count = max(1, round(fraction * size * width))
        for kind, order in ranked.items():
            masks.append(Mask(kind, float(fraction), 0, _pairs(order[:count], width)))
        for seed in seeds:
            drawn = np.random.default_rng(seed).permutation(size * width)[:count]
            masks.append(Mask("random", float(fraction), int(seed), _pairs(drawn, width)))
    return masks


def evaluate_masks(
    loaded: Loaded,
    benchmark: Benchmark,
    samples: Iterable[Sample],
    masking: Masking,
    settings: RunSettings | None = None,
) -> pd.DataFrame:
    """Answer every sample under every mask.

    A mask changes the prefill too, so each one is a run of its own; the full cache is kept in all of them.

    Returns:
        Columns of results kind ``masks``, sorted by its key. Scores and samples whose image cannot be decoded are as
        those of `evaluate`.

    Raises:
        InputError: for scores that do not fit the model, a bad fraction, an unknown `how`, or no samples.
    """
    settings, samples = settings or RunSettings(), list(samples)
    settings.check(benchmark)
    if not samples:
        raise InputError("masking.samples: no sample to evaluate; use 1 or more")
    masks = make_masks(_checked_scores(loaded, masking.scores), masking.fractions, masking.seeds)
    facts = work_facts(loaded, benchmark, samples, settings)
    facts |= {"masks": [tuple(mask) for mask in masks], "how": masking.how}
    resumed, halving = ResumableWork(settings.workdir, facts), Halving(settings.batch_size)
    # One sample a batch: an image encoded once gives each mask the bytes that it would get by itself.
    memory = image_memory(loaded, samples, again=settings.batch_size == 1)
    rows: Rows = []
    work = [(mask, batch) for batch in batches(samples, settings.batch_size) for mask in masks]
    with tqdm(
        total=len(samples) * len(masks),
        unit="answer",
        desc=f"{benchmark.name} masked",
        disable=not settings.progress,
    ) as bar:
        for number, (mask, batch) in enumerate(work):
            make = partial(_rows, loaded, benchmark, mask, masking.how, settings, memory)
            rows += resumed.get(number, partial(halving, make, batch))
            bar.update(len(batch))
    rows, unreadable = take_unreadable(rows)
    frame = pd.DataFrame(rows, columns=[name for name in COLUMNS if name not in SCORES])
    frame[SCORES] = score_columns(frame, benchmark, samples, ["kind", "fraction", "seed"], settings.rules)
    frame = frame[COLUMNS].sort_values(["sample_id", "kind", "fraction", "seed"], ignore_index=True)
    frame.attrs["unreadable"] = unreadable
    return frame


def _rows(
    loaded: Loaded,
    benchmark: Benchmark,
    mask: Mask,
    how: str,
    settings: RunSettings,
    memory: ImageMemory | None,
    batch: Sequence[Sample],
) -> Rows:
    """Result rows of one batch under one mask, without their scores."""
    with mask_heads(loaded.model, mask.heads, how=how):
        answered = answer(loaded, benchmark, batch, [FullKV()], settings, memory)
    return left_out(answered.unreadable) + [
        {
            "sample_id": sample.id,
            "kind": mask.kind,
            "fraction": mask.fraction,
            "seed": mask.seed,
            "prediction": text,
            "answers": list(sample.answers),
        }
        for sample, text in zip(answered.samples, answered.texts[0], strict=True)
    ]


def _checked_scores(loaded: Loaded, scores: Any) -> np.ndarray:
    """Head scores as float64 [L, Hq]. Raises InputError if they are not the model's."""
    sizes = shape(loaded.model)
    values = np.asarray(getattr(scores, "values", scores), dtype=np.float64)
    if values.shape != (sizes.num_layers, sizes.num_heads):
        raise InputError(
            f"masking: scores of shape {values.shape} are not those of {loaded.name}, "
            f"[{sizes.num_layers}, {sizes.num_heads}]; score this model"
        )
    return values


def _pairs(numbers: np.ndarray, width: int) -> tuple[tuple[int, int], ...]:
    return tuple((int(n) // width, int(n) % width) for n in sorted(numbers.tolist()))
