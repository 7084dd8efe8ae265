"""What all cells of one benchmark cost over the full cache alone, through the same engine.

    python benchmarks/engine_cost.py [--benchmark synth-docvqa] [--samples 96] [--repeats 5] [--threads 2]
    python benchmarks/engine_cost.py --questions 5 --batch-size 10

Cells, window and batch size are those of config/config.yaml (ablation cells of the benchmark included). Each repeat
evaluates the same samples with FullKV alone and with all cells, one after the other, so that both see the same
machine; inputs are prepared inside the timed part of both. Target: a median ratio of at most 2.0. The scores are
those of --scores, or drawn from a seed, concentrated in few heads: how long an answer gets depends on them, the work
per token does not. With --questions, that many are asked about each page: all cells share its prefill, the full cache
alone is asked each question by itself, image and all, as other programs do.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from sparsemm.benchmarks import Sample, get_benchmark
from sparsemm.evaluation.evaluate import Cell, RunSettings, evaluate, make_cells
from sparsemm.heads.scores import HeadScores
from sparsemm.models.loading import load_model, shape

ROOT = Path(__file__).resolve().parents[1]


def all_pairs(config: dict[str, Any], benchmark: str) -> list[tuple[str, int]]:
    """The (label, budget) pairs that the workflow evaluates for a benchmark."""
    pairs = [
        ("fullkv", 0),
        *((label, budget) for label in config["policies"] for budget in config["budgets"]),
    ]
    rho, parts = config["ablations"]["rho"], config["ablations"]["parts"]
    if rho["benchmark"] == benchmark:
        pairs += [(f"sparsemm[rho={value}]", rho["budget"]) for value in rho["values"]]
    if parts["benchmark"] == benchmark:
        labels = ("local_window", "sparsemm[rho=1.0]")
        pairs += [(label, budget) for label in labels for budget in parts["budgets"]]
    return list(dict.fromkeys(pairs))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=str(ROOT / "data/models/tiny-llava-next-vicuna"))
    parser.add_argument("--scores", help="a scores.parquet of that model")
    parser.add_argument("--benchmark", default="synth-docvqa")
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch-size", type=int, help="default: the benchmark's in config.yaml")
    parser.add_argument("--questions", type=int, default=1, help="about one page")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    settings = config["benchmarks"][options.benchmark]
    loaded = load_model(options.model)
    sizes = shape(loaded.model)
    if options.scores:
        scores: Any = HeadScores.load(options.scores)
    else:
        count = sizes.num_layers * sizes.num_heads
        scores = np.random.default_rng(0).dirichlet([0.1] * count).reshape(sizes.num_layers, sizes.num_heads)
    cells = make_cells(
        all_pairs(config, options.benchmark),
        scores=scores,
        num_kv_heads=sizes.num_kv_heads,
        **{key: config[key] for key in ("window", "kernel", "rho", "beta", "floor", "seed")},
    )
    asked = {"questions": options.questions} if options.questions > 1 else {}
    benchmark = get_benchmark(options.benchmark, max_new_tokens=settings["max_new_tokens"], **asked)
    samples = list(benchmark.load(options.samples, config["seed"]))
    apart = [
        replace(sample, image_id=sample.id) for sample in samples
    ]  # every question with an image of its own
    batch = options.batch_size or settings["batch_size"]

    def seconds(chosen: list[Cell], asked: list[Sample]) -> float:
        start = time.perf_counter()
        evaluate(loaded, benchmark, asked, chosen, RunSettings(batch_size=batch, progress=False))
        return time.perf_counter() - start

    seconds(cells, samples)  # warm up
    ratios = []
    print(f"{options.benchmark}: {len(samples)} samples, batches of {batch}, {len(cells)} cells")
    for repeat in range(options.repeats):
        full, every = seconds(cells[:1], apart), seconds(cells, samples)
        ratios.append(every / full)
        print(
            f"{repeat}: full cache {full:.2f} s, all cells {every:.2f} s, ratio {ratios[-1]:.2f}", flush=True
        )
    print(f"median ratio {statistics.median(ratios):.2f} (target: at most 2.0)")


if __name__ == "__main__":
    main()
