"""Evaluate every cell of a benchmark from one prefill a sample, in parts that survive a kill.

What a workflow script calls::

    cells = make_cells([("fullkv", 0), ("snapkv", 16), ...], window=8, kernel=5, scores=head_scores, num_kv_heads=12)
    samples = list(benchmark.load(500, seed, shard=0, shards=1))
    frame = evaluate(loaded, benchmark, samples, cells, batch_size=16, workdir=work)   # kind "predictions"
    write_table(path, frame, "predictions", metadata); resume.discard(work)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from sparsemm.benchmarks.base import Benchmark, Sample
from sparsemm.errors import InputError
from sparsemm.evaluation.engine.run import EngineOutput, run_cells
from sparsemm.models.loading import Loaded, build_inputs, shape
from sparsemm.models.text import end_tokens
from sparsemm.policies import Policy, make_policy
from sparsemm.results.resume import ResumableWork, Rows

COLUMNS = [
    "sample_id",
    "policy",
    "budget",
    "prediction",
    "answers",
    "score",
    "prompt_tokens",
    "kept_tokens",
    "cache_bytes",
]


class Cell(NamedTuple):
    """One policy at one budget under the label that results carry; budget 0 is the full cache."""

    label: str
    budget: int
    policy: Policy


def make_cells(pairs: Sequence[Sequence[Any]], **settings: Any) -> list[Cell]:
    """Cells from (label, budget) pairs; ``settings`` are those of `make_policy` (window, kernel, scores, ...).

    Raises:
        InputError: for an unknown label, a budget not above the window, or a pair that comes twice.
    """
    cells = []
    for label, budget in pairs:
        cells.append(
            Cell(str(label), int(budget), make_policy(label, budget=int(budget) or None, **settings))
        )
    if len({cell[:2] for cell in cells}) < len(cells):
        raise InputError("policies, budgets: a (policy, budget) pair comes twice; list each once")
    return cells


def evaluate(
    loaded: Loaded,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    cells: Sequence[Cell],
    *,
    batch_size: int = 16,
    max_new_tokens: int | None = None,
    workdir: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Answer every sample under every cell; columns as results kind ``predictions``, sorted by its key.

    Args:
        max_new_tokens: longest answer; the benchmark's own by default.
        workdir: folder for finished batches, so that a killed run goes on where it was and gives the same bytes.
            Parts of other work (another model, cell, setting or code) are not used.
        progress: show a bar on stderr.

    ``kept_tokens`` is the mean over layers and KV heads, window included; ``cache_bytes`` what K and V of the kept
    tokens take in the model's dtype (the engine itself holds the prompt once for all cells).

    Raises:
        InputError: no samples or cells, a batch size below 1, or a workdir that cannot be written.
    """
    limit = benchmark.max_new_tokens if max_new_tokens is None else max_new_tokens
    check_work(samples, batch_size, limit)
    if not cells:
        raise InputError("policies: no cell to evaluate; give at least fullkv")
    work = ResumableWork(
        workdir,
        work_facts(loaded, benchmark, samples, batch_size, limit)
        | {"cells": [(cell.label, cell.budget, describe(cell.policy)) for cell in cells]},
    )
    rows: Rows = []
    with tqdm(total=len(samples), unit="sample", desc=benchmark.name, disable=not progress) as bar:
        for number, batch in enumerate(batches(samples, batch_size)):
            rows += work.get(number, partial(_rows, loaded, benchmark, batch, cells, limit))
            bar.update(len(batch))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.sort_values(["sample_id", "policy", "budget"], ignore_index=True)


def batches(samples: Sequence[Sample], size: int) -> Iterator[list[Sample]]:
    """Batches of samples of like image size, so that little is padded; the order depends on the samples alone."""
    ordered = sorted(
        samples, key=lambda sample: (sample.image.width * sample.image.height, sample.image.size)
    )
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def answer(
    loaded: Loaded, samples: Sequence[Sample], policies: Sequence[Policy], max_new_tokens: int
) -> tuple[list[list[str]], EngineOutput]:
    """One batch through the engine: the answers as text, [C][B], and its sizes."""
    inputs = build_inputs(
        loaded,
        [sample.image for sample in samples],
        [sample.prompt for sample in samples],
        loaded.model.device,
    )
    output = run_cells(
        loaded.model, inputs, policies, max_new_tokens=max_new_tokens, stop=end_tokens(loaded.model)
    )
    decode = loaded.processor.tokenizer.decode
    texts = [[decode(tokens, skip_special_tokens=True).strip() for tokens in cell] for cell in output.tokens]
    return texts, output


def check_work(samples: Sequence[Sample], batch_size: int, max_new_tokens: int) -> None:
    """Refuse work that is empty or senseless.

    Raises:
        InputError: naming the key.
    """
    if not samples:
        raise InputError(
            "benchmarks.samples: no sample to evaluate; use 1 or more, and no more shards than samples"
        )
    if batch_size < 1:
        raise InputError(f"batch_size: {batch_size} is not positive; use 1 or more")
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens: {max_new_tokens} is not positive; use 1 or more")


def work_facts(
    loaded: Loaded, benchmark: Benchmark, samples: Sequence[Sample], batch_size: int, max_new_tokens: int
) -> dict[str, Any]:
    """What the answers depend on, whatever the cells are."""
    drawn = hashlib.sha256()
    for sample in samples:
        drawn.update(repr((sample.id, sample.prompt, sample.answers, sample.image.size)).encode())
        drawn.update(sample.image.tobytes())
    return {
        "model": [loaded.name, loaded.revision, str(loaded.model.dtype), loaded.model.device.type],
        "benchmark": benchmark.name,
        "samples": drawn.hexdigest(),
        "batch_size": batch_size,
        "max_new_tokens": max_new_tokens,
        "torch": torch.__version__,
    }


def describe(policy: Policy) -> str:
    """The policy with all its settings; scores, which have no faithful repr, as a digest."""
    settings = {key: value for key, value in vars(policy).items() if not key.startswith("_")}
    if "scores" in settings:
        values = getattr(settings["scores"], "values", settings["scores"])
        array = torch.as_tensor(values, dtype=torch.float64).cpu().contiguous().numpy()
        settings["scores"] = hashlib.sha256(array.tobytes()).hexdigest()
    return f"{policy.name} {sorted(settings.items())}"


def _rows(
    loaded: Loaded, benchmark: Benchmark, batch: Sequence[Sample], cells: Sequence[Cell], max_new_tokens: int
) -> Rows:
    texts, output = answer(loaded, batch, [cell.policy for cell in cells], max_new_tokens)
    sizes = shape(loaded.model)
    token_bytes = 2 * sizes.head_dim * torch.empty(0, dtype=loaded.model.dtype).element_size()
    rows: Rows = []
    for column, sample in enumerate(batch):
        known: dict[str, float] = {}  # most cells agree: score each text once
        for cell, answers, kept in zip(cells, texts, output.kept[:, column], strict=True):
            text = answers[column]
            if text not in known:
                known[text] = benchmark.score(text, sample)
            total = int(kept.sum())
            rows.append(
                {
                    "sample_id": sample.id,
                    "policy": cell.label,
                    "budget": cell.budget,
                    "prediction": text,
                    "answers": list(sample.answers),
                    "score": known[text],
                    "prompt_tokens": int(output.prompt_tokens[column]),
                    "kept_tokens": total / kept.numel(),
                    "cache_bytes": total * token_bytes,
                }
            )
    return rows
