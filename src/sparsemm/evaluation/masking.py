"""Figure 7: answers with the best visual heads, or as many random ones, switched off; the cache stays whole.

What a workflow script calls::

    frame = evaluate_masks(loaded, benchmark, samples, scores, fractions=[0.02, 0.05], seeds=[0, 1, 2], batch_size=20)
    write_table(path, frame, "masks", metadata)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm  # type: ignore[import-untyped]

from sparsemm.benchmarks.base import Benchmark, Sample
from sparsemm.errors import InputError
from sparsemm.evaluation.evaluate import answer, batches, check_work, work_facts
from sparsemm.models.head_masks import mask_heads
from sparsemm.models.loading import Loaded, shape
from sparsemm.policies import FullKV
from sparsemm.results.resume import ResumableWork, Rows

COLUMNS = ["sample_id", "kind", "fraction", "seed", "prediction", "answers", "score"]


class Mask(NamedTuple):
    """Query heads to switch off: ``none``, the ``visual`` ones or ``random`` ones of a seed."""

    kind: str
    fraction: float
    seed: int
    heads: tuple[tuple[int, int], ...]


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


def _pairs(numbers: np.ndarray, width: int) -> tuple[tuple[int, int], ...]:
    return tuple((int(n) // width, int(n) % width) for n in sorted(numbers.tolist()))


def evaluate_masks(
    loaded: Loaded,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    scores: Any,
    *,
    fractions: Sequence[float],
    seeds: Sequence[int],
    batch_size: int = 16,
    max_new_tokens: int | None = None,
    workdir: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Answer every sample under every mask; columns as results kind ``masks``, sorted by its key.

    A mask changes the prefill too, so each one is a run of its own; the full cache is kept in all of them.

    Args:
        scores: HeadScores, or an array [L, Hq].

    Raises:
        InputError: for scores that do not fit the model, a bad fraction, or no samples.
    """
    limit = benchmark.max_new_tokens if max_new_tokens is None else max_new_tokens
    check_work(samples, batch_size, limit)
    sizes = shape(loaded.model)
    values = np.asarray(getattr(scores, "values", scores), dtype=np.float64)
    if values.shape != (sizes.num_layers, sizes.num_heads):
        raise InputError(
            f"masking: scores of shape {values.shape} are not those of {loaded.name}, "
            f"[{sizes.num_layers}, {sizes.num_heads}]; score this model"
        )
    masks = make_masks(values, fractions, seeds)
    work = ResumableWork(
        workdir,
        work_facts(loaded, benchmark, samples, batch_size, limit) | {"masks": [tuple(m) for m in masks]},
    )
    rows: Rows = []
    with tqdm(
        total=len(samples) * len(masks), unit="answer", desc=f"{benchmark.name} masked", disable=not progress
    ) as bar:
        number = 0
        for mask in masks:
            for batch in batches(samples, batch_size):
                rows += work.get(number, partial(_rows, loaded, benchmark, batch, mask, limit))
                number += 1
                bar.update(len(batch))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.sort_values(["sample_id", "kind", "fraction", "seed"], ignore_index=True)


def _rows(loaded: Loaded, benchmark: Benchmark, batch: Sequence[Sample], mask: Mask, limit: int) -> Rows:
    with mask_heads(loaded.model, mask.heads):
        texts, _ = answer(loaded, batch, [FullKV()], limit)
    return [
        {
            "sample_id": sample.id,
            "kind": mask.kind,
            "fraction": mask.fraction,
            "seed": mask.seed,
            "prediction": text,
            "answers": list(sample.answers),
            "score": benchmark.score(text, sample),
        }
        for sample, text in zip(batch, texts[0], strict=True)
    ]
