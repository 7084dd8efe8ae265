"""Evaluate every cell of a benchmark from one prefill a sample, with resume.

What a workflow script calls::

    cells = make_cells([("fullkv", 0), ("snapkv", 16), ...], window=8, kernel=5, scores=head_scores, num_kv_heads=12)
    samples = list(benchmark.load(500, seed, shard=0, shards=1))
    frame = evaluate(loaded, benchmark, samples, cells, RunSettings(batch_size=16, workdir=work))
    write_table(path, frame, "predictions", run_facts(...) | {"unreadable": frame.attrs["unreadable"]})
    resume.discard(work)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from sparsemm.benchmarks import Benchmark, Sample
from sparsemm.errors import InputError
from sparsemm.evaluation.agnostic import answer_agnostic
from sparsemm.evaluation.batches import answer, batches
from sparsemm.evaluation.cells import Cell, describe, make_cells
from sparsemm.evaluation.halving import Halving
from sparsemm.evaluation.images import ImageMemory, image_memory
from sparsemm.evaluation.scoring import SCORES, score_columns
from sparsemm.evaluation.settings import RunSettings, work_facts
from sparsemm.evaluation.unreadable import left_out, take_unreadable
from sparsemm.methods import QUESTIONS
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
    *SCORES,
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

    Images are decoded a batch at a time; samples, whose images are encoded, are all held. A batch that does not fit
    into a GPU's memory is halved, which the log says.

    Args:
        loaded: the model.
        benchmark: of the samples.
        samples: one shard of the benchmark; none give no rows.
        cells: the policies and budgets.
        settings: batch size, folder for resume and so on; the defaults of RunSettings if left out.

    Returns:
        Columns of results kind ``predictions``, sorted by its key. ``kept_tokens`` is the mean over layers and KV
        heads, window included; where the prompt is compressed before the question is known, the question counts too.
        ``cache_bytes`` is what K and V of the kept tokens take in the model's dtype (the engine itself holds the prompt
        once for all cells). Scores are NaN for a metric of whole runs (`score_run`). Samples whose image cannot be
        decoded have no rows; ``attrs["unreadable"]`` lists their ids, and the log.

    Raises:
        InputError: no cells, a batch size below 1, generation settings that cannot be followed, a workdir that cannot
            be written, or a sample that does not fit into memory alone.
    """
    settings, samples = settings or RunSettings(), list(samples)
    settings.check(benchmark)
    if not cells:
        raise InputError("policies: no cell to evaluate; give at least fullkv")
    facts = work_facts(loaded, benchmark, samples, settings)
    facts["cells"] = [(cell.label, cell.budget, describe(cell.policy)) for cell in cells]
    resumed, halving = ResumableWork(settings.workdir, facts), Halving(settings.batch_size)
    make = partial(_rows, loaded, benchmark, cells, settings, image_memory(loaded, samples))
    rows: Rows = []
    with tqdm(total=len(samples), unit="sample", desc=benchmark.name, disable=not settings.progress) as bar:
        for number, batch in enumerate(batches(samples, settings.batch_size)):
            rows += resumed.get(number, partial(halving, make, batch))
            bar.update(len(batch))
    rows, unreadable = take_unreadable(rows)
    frame = pd.DataFrame(rows, columns=[name for name in COLUMNS if name not in SCORES])
    frame[SCORES] = score_columns(frame, benchmark, samples, ["policy", "budget"], settings.rules)
    frame = frame[COLUMNS].sort_values(["sample_id", "policy", "budget"], ignore_index=True)
    frame.attrs["unreadable"] = unreadable
    return frame


def _rows(
    loaded: Loaded,
    benchmark: Benchmark,
    cells: Sequence[Cell],
    settings: RunSettings,
    memory: ImageMemory | None,
    batch: Sequence[Sample],
) -> Rows:
    """Result rows of one batch, without their scores."""
    aware, agnostic, instructed = ([cell for cell in cells if cell.question == each] for each in QUESTIONS)
    rows: Rows = []
    unreadable: list[str] = []
    if aware:
        policies = [cell.policy for cell in aware]
        answered = answer(loaded, benchmark, batch, policies, settings, memory)
        unreadable, output = answered.unreadable, answered.output
        for column, sample in enumerate(answered.samples if output is not None else []):
            assert output is not None
            for cell, answers, kept in zip(aware, answered.texts, output.kept[:, column], strict=True):
                prompt_tokens = int(output.prompt_tokens[column])
                rows.append(_row(loaded, sample, cell, answers[column], prompt_tokens, kept))
    for own, rank_by in ((agnostic, "window"), (instructed, "instruction")):
        if not own:
            continue
        policies = [cell.policy for cell in own]
        found, unreadable = answer_agnostic(
            loaded, benchmark, batch, policies, settings, memory, rank_by=rank_by
        )
        for each in found:
            for cell, text, kept in zip(own, each.texts, each.kept, strict=True):
                rows.append(_row(loaded, each.sample, cell, text, each.prompt_tokens, kept))
    return left_out(unreadable) + rows


def _row(
    loaded: Loaded, sample: Sample, cell: Cell, prediction: str, prompt_tokens: int, kept: torch.Tensor
) -> dict[str, Any]:
    """One result row; kept: int64 [L, Hkv]."""
    token_bytes = 2 * shape(loaded.model).head_dim * torch.empty(0, dtype=loaded.model.dtype).element_size()
    total = int(kept.sum())
    return {
        "sample_id": sample.id,
        "image_id": sample.image_id,
        "policy": cell.label,
        "budget": cell.budget,
        "prediction": prediction,
        "answers": list(sample.answers),
        "prompt_tokens": prompt_tokens,
        "kept_tokens": total / kept.numel(),
        "cache_bytes": total * token_bytes,
    }
