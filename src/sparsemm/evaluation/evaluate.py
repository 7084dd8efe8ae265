"""Evaluate every cell of a benchmark from one prefill a sample, with resume.

What a workflow script calls::

    cells = make_cells([("fullkv", 0), ("snapkv", 16), ...], window=8, kernel=5, scores=head_scores, num_kv_heads=12)
    samples = benchmark.load(500, seed, shard=0, shards=1)
    frame = evaluate(loaded, benchmark, samples, cells, RunSettings(batch_size=16, workdir=work))
    write_table(path, frame, "predictions", metadata)
    resume.discard(work)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import pandas as pd
import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from sparsemm.benchmarks import Benchmark, Sample
from sparsemm.errors import InputError
from sparsemm.evaluation.batches import answer, batches
from sparsemm.evaluation.cells import Cell, describe, make_cells
from sparsemm.evaluation.scoring import score_column
from sparsemm.evaluation.settings import RunSettings, work_facts
from sparsemm.models.loading import Loaded, shape
from sparsemm.results.resume import ResumableWork, Rows

__all__ = ["Cell", "RunSettings", "evaluate", "make_cells"]

COLUMNS = [
    "sample_id",
    "image_id",
    "policy",
    "budget",
    "prediction",
    "answers",
    "score",
    "prompt_tokens",
    "kept_tokens",
    "cache_bytes",
]


def evaluate(
    loaded: Loaded,
    benchmark: Benchmark,
    samples: Iterable[Sample],
    cells: Sequence[Cell],
    settings: RunSettings | None = None,
) -> pd.DataFrame:
    """Answer every sample under every cell.

    Images are decoded a batch at a time; samples, whose images are encoded, are all held.

    Args:
        samples: one shard of the benchmark.
        settings: batch size, folder for resume and so on; the defaults of RunSettings if left out.

    Returns:
        Columns of results kind ``predictions``, sorted by its key. ``kept_tokens`` is the mean over layers and KV
        heads, window included; ``cache_bytes`` what K and V of the kept tokens take in the model's dtype (the engine
        itself holds the prompt once for all cells). ``score`` is NaN for a metric of whole runs (`score_column`).

    Raises:
        InputError: no samples or cells, a batch size below 1, or a workdir that cannot be written.
    """
    settings, samples = settings or RunSettings(), list(samples)
    settings.check(benchmark, samples)
    if not cells:
        raise InputError("policies: no cell to evaluate; give at least fullkv")
    facts = work_facts(loaded, benchmark, samples, settings)
    facts["cells"] = [(cell.label, cell.budget, describe(cell.policy)) for cell in cells]
    resumed = ResumableWork(settings.workdir, facts)
    rows: Rows = []
    with tqdm(total=len(samples), unit="sample", desc=benchmark.name, disable=not settings.progress) as bar:
        for number, batch in enumerate(batches(samples, settings.batch_size)):
            rows += resumed.get(number, partial(_rows, loaded, benchmark, batch, cells, settings))
            bar.update(len(batch))
    frame = pd.DataFrame(rows)
    frame["score"] = score_column(frame, benchmark, samples, ["policy", "budget"], settings.rules)
    return frame[COLUMNS].sort_values(["sample_id", "policy", "budget"], ignore_index=True)


def _rows(
    loaded: Loaded,
    benchmark: Benchmark,
    batch: Sequence[Sample],
    cells: Sequence[Cell],
    settings: RunSettings,
) -> Rows:
    """Result rows of one batch, without their scores."""
    texts, output = answer(loaded, benchmark, batch, [cell.policy for cell in cells], settings)
    sizes = shape(loaded.model)
    token_bytes = 2 * sizes.head_dim * torch.empty(0, dtype=loaded.model.dtype).element_size()
    rows: Rows = []
    for column, sample in enumerate(batch):
        for cell, answers, kept in zip(cells, texts, output.kept[:, column], strict=True):
            total = int(kept.sum())
            rows.append(
                {
                    "sample_id": sample.id,
                    "image_id": sample.image_id,
                    "policy": cell.label,
                    "budget": cell.budget,
                    "prediction": answers[column],
                    "answers": list(sample.answers),
                    "prompt_tokens": int(output.prompt_tokens[column]),
                    "kept_tokens": total / kept.numel(),
                    "cache_bytes": total * token_bytes,
                }
            )
    return rows
