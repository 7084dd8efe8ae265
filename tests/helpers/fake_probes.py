"""A made-up run with scores from several probe sets, whose agreement is known, and answers with the heads of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsemm.results.parquet import write_table

LAYERS, HEADS, IMAGES = 6, 12, 40
Floats = NDArray[np.float64]


@dataclass
class ProbeRun:
    """Paths of the files that `make_probe_run` wrote."""

    scores: list[Path] = field(default_factory=list)
    samples: list[Path] = field(default_factory=list)
    set_scores: list[Path] = field(default_factory=list)
    set_samples: list[Path] = field(default_factory=list)
    predictions: list[Path] = field(default_factory=list)


def make_probe_run(
    root: Path, *, models: tuple[str, ...] = ("tiny",), unread: str = "", budgets: tuple[int, ...] = (16, 32)
) -> ProbeRun:
    """Write a run under `root`: the set "same" has the probe set's heads, "other" heads of its own.

    Args:
        root: folder of the run.
        models: of the run.
        unread: a further set of which nothing was read: all heads have the same score.
        budgets: of the answers.
    """
    run = ProbeRun()
    for model in models:
        rng = np.random.default_rng(list(model.encode()))
        mean, own = (rng.pareto(1.1, LAYERS * HEADS) + 1e-3 for _ in range(2))
        for name, level in (("", mean), ("same", mean), ("other", own), (unread, np.zeros(mean.size))):
            if name or level is mean:
                write_scores(root, run, model, name, rng.gamma(1.0, np.tile(level, (IMAGES, 1))))
        labels = ["sparsemm", "random_heads", "snapkv"]
        labels += [f"sparsemm[probe={path.parent.name}]" for path in run.set_scores if path.stem == model]
        cells = [("fullkv", 0), ("sparsemm[rho=0.5]", budgets[0])]
        cells += [(label, budget) for label in labels for budget in budgets]
        run.predictions.append(root / "predictions" / model / "synth-docvqa" / "0.parquet")
        write_table(
            run.predictions[-1], _answers(rng, cells), "predictions", {"model": model, "metric": "ANLS"}
        )
    return run


def write_scores(root: Path, run: ProbeRun, model: str, name: str, weight: Floats) -> None:
    """Write scores and samples of the probe set (name "") or of a further one; weight: [images, heads]."""
    count = weight.shape[1]
    layer, head = np.divmod(np.arange(count), HEADS)
    total = weight.sum(axis=0)
    score = total / total.sum() if total.any() else np.full(count, 1 / count)
    facts: dict[str, Any] = {"model": model}
    facts |= {} if total.any() else {"no_match": "uniform: no token matched"}
    shared = {"layer": layer, "head": head, "kv_head": head, "hits": np.ceil(total).astype(int)}
    frame = pd.DataFrame({**shared, "matched_tokens": 9, "score": score, "ci_low": score, "ci_high": score})
    where = Path("sets") / name if name else Path()
    path, samples = (
        root / "scores" / where / f"{model}.parquet",
        root / "scores/samples" / where / f"{model}.parquet",
    )
    write_table(path, frame, "scores", facts)
    rows = pd.DataFrame(
        {
            "image_id": np.repeat([f"{i:05d}" for i in range(len(weight))], count),
            "layer": np.tile(layer, len(weight)),
            "head": np.tile(head, len(weight)),
            "hits": np.ceil(weight.ravel()).astype(int),
            "matched_tokens": 9,
            "weight": weight.ravel(),
            "mean": weight.ravel() / 9,
        }
    )
    write_table(samples, rows, "score_samples", facts)
    (run.set_scores if name else run.scores).append(path)
    (run.set_samples if name else run.samples).append(samples)


def _answers(rng: np.random.Generator, cells: list[tuple[str, int]]) -> pd.DataFrame:
    rows = []
    for policy, budget in cells:
        level = 0.9 if policy == "fullkv" else 0.3 if policy == "random_heads" else 0.8 - 4 / budget
        for index, score in enumerate(rng.uniform(size=30) < level):
            names = ("score", "score_paper", "score_current")
            rows.append(
                {
                    "sample_id": f"{index:05d}",
                    "image_id": f"i{index // 2:04d}",
                    "policy": policy,
                    "budget": budget,
                    "prediction": "A",
                    "answers": ["A"],
                    **dict.fromkeys(names, float(score)),
                    "prompt_tokens": 400,
                    "kept_tokens": float(budget or 400),
                    "cache_bytes": (budget or 400) * 1000,
                }
            )
    return pd.DataFrame(rows)
