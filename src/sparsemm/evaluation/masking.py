"""Figure 7: answers with the best visual heads, or as many random ones, ablated; the cache stays whole.

What a workflow script calls::

    masking = Masking(head_scores, fractions=[0.02, 0.05], seeds=[0, 1, 2])
    frame = evaluate_masks(loaded, benchmark, samples, masking, RunSettings(batch_size=20))
    write_table(path, frame, "masks", metadata)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm  # type: ignore[import-untyped]

from sparsemm.benchmarks import Benchmark, Sample
from sparsemm.errors import InputError
from sparsemm.evaluation.batches import answer, batches
from sparsemm.evaluation.scoring import score_column
from sparsemm.evaluation.settings import RunSettings, work_facts
from sparsemm.models.head_masks import mask_heads
from sparsemm.models.loading import Loaded, shape
from sparsemm.policies import FullKV
from sparsemm.results.resume import ResumableWork, Rows

COLUMNS = ["sample_id", "kind", "fraction", "seed", "prediction", "answers", "score"]


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
    for name, given in (("fractions", fractions), ("seeds", seeds)):
        if len(set(given)) < len(given):
            raise InputError(f"masking.{name}: {list(given)} has a value twice; list each once")
    masks = [Mask("none", 0.0, 0, ())]
    width = values.shape[1]
    ranked = np.argsort(-values.ravel(), kind="stable")
    for fraction in fractions:
        if not 0.0 < fraction <= 1.0:
            raise InputError(
                f"masking.fractions: {fraction} is not a share of the heads; use above 0 and at most 1"
            )
        count = max(1, round(fraction * values.size))
        masks.append(Mask("visual", float(fraction), 0, _pairs(ranked[:count], width)))
        for seed in seeds:
            drawn = np.random.default_rng(seed).permutation(values.size)[:count]
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
        Columns of results kind ``masks``, sorted by its key.

    Raises:
        InputError: for scores that do not fit the model, a bad fraction, an unknown `how`, or no samples.
    """
    settings, samples = settings or RunSettings(), list(samples)
    settings.check(benchmark, samples)
    masks = make_masks(_checked_scores(loaded, masking.scores), masking.fractions, masking.seeds)
    facts = work_facts(loaded, benchmark, samples, settings)
    facts |= {"masks": [tuple(mask) for mask in masks], "how": masking.how}
    resumed = ResumableWork(settings.workdir, facts)
    rows: Rows = []
    work = [(mask, batch) for mask in masks for batch in batches(samples, settings.batch_size)]
    with tqdm(
        total=len(samples) * len(masks),
        unit="answer",
        desc=f"{benchmark.name} masked",
        disable=not settings.progress,
    ) as bar:
        for number, (mask, batch) in enumerate(work):
            rows += resumed.get(number, partial(_rows, loaded, benchmark, batch, mask, masking.how, settings))
            bar.update(len(batch))
    frame = pd.DataFrame(rows)
    frame["score"] = score_column(frame, benchmark, samples, ["kind", "fraction", "seed"], settings.rules)
    return frame[COLUMNS].sort_values(["sample_id", "kind", "fraction", "seed"], ignore_index=True)


def _rows(
    loaded: Loaded,
    benchmark: Benchmark,
    batch: Sequence[Sample],
    mask: Mask,
    how: str,
    settings: RunSettings,
) -> Rows:
    """Result rows of one batch under one mask, without their scores."""
    with mask_heads(loaded.model, mask.heads, how=how):
        texts, _ = answer(loaded, benchmark, batch, [FullKV()], settings)
    return [
        {
            "sample_id": sample.id,
            "kind": mask.kind,
            "fraction": mask.fraction,
            "seed": mask.seed,
            "prediction": text,
            "answers": list(sample.answers),
        }
        for sample, text in zip(batch, texts[0], strict=True)
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
