"""A made-up run of the paper's models on its benchmarks, whose scores are near the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sparsemm.reporting import paper_values
from sparsemm.results.parquet import write_table

from helpers.fake_results import POLICIES, RHOS, Run, make_run

PAPER = Path(__file__).parents[2] / "data" / "paper"
ACCURACY = PAPER / "accuracy.csv"
VICUNA, MISTRAL, QWEN = MODELS = ("llava-next-vicuna-7b", "llava-next-mistral-7b", "qwen2-vl-7b")
FIVE = ("docvqa", "ocrbench", "textvqa", "chartqa", "textcaps")
THREE = ("mmbench", "gqa", "vqav2")
METRICS = {"docvqa": "ANLS", "textcaps": "CIDEr", "mmbench": "circular accuracy"}
QUESTIONS = 3  # about an image; rotations of a question of MMBench


def make_paper_run(
    root: Path,
    *,
    models: tuple[str, ...] = MODELS,
    benchmarks: tuple[str, ...] = (*FIVE, *THREE),
    images: int = 30,
    java: bool = True,
    ablations: bool = True,
    **metadata: Any,
) -> Run:
    """Write a run under `root`: Qwen2-VL alone on the last three benchmarks.

    Args:
        models: of the run.
        benchmarks: of the run.
        images: of each benchmark; each has three questions where the benchmark's questions share images.
        java: whether CIDEr could be computed.
        ablations: whether the sweep of rho (OCRBench) and the parts of the budget (MMBench) were run.
        **metadata: of the prediction files, such as limit.
    """
    run = make_run(root, models=models, benchmarks=())
    for benchmark in benchmarks:
        for model in models:
            if benchmark in FIVE or model == QWEN:
                frame = _answers(model, benchmark, images, ablations)
                _write(root, run, model, benchmark, frame, java, metadata)
    return run


def _cells(model: str, benchmark: str, ablations: bool) -> list[tuple[str, int, float]]:
    """Policy, budget and mean score of each cell; the paper's score where it has one."""
    table = paper_values.accuracy(ACCURACY)
    theirs = table[
        (table["paper_model"] == paper_values.paper_name(model)) & (table["benchmark"] == benchmark)
    ]
    known = theirs.set_index(["policy", "budget"])["paper_score"]
    budgets = (48, 64, 96, 128, 256, 512) if benchmark in THREE else (64, 128, 256, 512, 1024, 2048)
    level = float(known.max())
    cells = [("fullkv", 0, level)]
    cells += [(policy, budget, float(known[policy, budget])) for policy in POLICIES for budget in budgets]
    if ablations and benchmark == "ocrbench":
        cells += [(f"sparsemm[rho={rho}]", 256, level - 0.05 * abs(rho - 0.1)) for rho in RHOS]
    if ablations and benchmark == "mmbench":
        cells += [("local_window", budget, level - 4 / budget) for budget in budgets]
        cells += [("sparsemm[rho=1.0]", budget, level - 2 / budget) for budget in budgets]
    return cells


def _answers(model: str, benchmark: str, images: int, ablations: bool) -> pd.DataFrame:
    rng = np.random.default_rng(list(f"{model}/{benchmark}".encode()))
    count = images * (QUESTIONS if benchmark in ("docvqa", "textvqa", *THREE) else 1)
    ease, length = rng.uniform(size=count), rng.integers(2200, 2600, count)
    rows = []
    for policy, budget, level in _cells(model, benchmark, ablations):
        score = level + ease - 0.5 if benchmark == "textcaps" else (ease < level).astype(float)
        kept = np.minimum(budget or 10**6, length)
        for index in range(count):
            rows.append(
                {
                    "sample_id": f"{index:05d}",
                    "image_id": f"i{index * images // count:04d}",
                    "policy": policy,
                    "budget": budget,
                    "prediction": "A",
                    "answers": ["A"],
                    "score": score[index],
                    "score_paper": score[index],
                    "score_current": 0.9 * score[index],
                    "prompt_tokens": int(length[index]),
                    "kept_tokens": float(kept[index]),
                    "cache_bytes": int(kept[index]) * 1000,
                }
            )
    return pd.DataFrame(rows)


def _write(
    root: Path,
    run: Run,
    model: str,
    benchmark: str,
    frame: pd.DataFrame,
    java: bool,
    metadata: dict[str, Any],
) -> None:
    facts = {"model": model, "metric": METRICS.get(benchmark, "accuracy"), "rules": "paper", **metadata}
    facts["image_limits"] = {"size": {"shortest_edge": 336}}
    scores = ["score", "score_paper", "score_current"]
    if benchmark in ("textcaps", "mmbench"):
        units = frame[frame["sample_id"].astype(int) % (QUESTIONS if benchmark == "mmbench" else 1) == 0]
        units = units.rename(columns={"sample_id": "unit"})
        units = units[["unit", "image_id", "policy", "budget", *scores]].assign(unread=0)
        if benchmark == "textcaps" and not java:
            units = units.assign(**dict.fromkeys(scores))
        run.run_scores.append(root / "run_scores" / model / f"{benchmark}.parquet")
        write_table(run.run_scores[-1], units, "run_scores", facts)
        frame = frame.assign(**dict.fromkeys(scores))
    run.predictions.append(root / "predictions" / model / benchmark / "0.parquet")
    write_table(run.predictions[-1], frame, "predictions", facts)
