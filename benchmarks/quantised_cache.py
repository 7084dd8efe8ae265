"""Answers, bytes and decode time of the embedded model with its cache in float32, int8 and int4.

    python benchmarks/quantised_cache.py [--samples 40] [--budget 24] [--scores FILE]

Each sample is answered by plain `generate` inside compress(..., storage=...), one at a time; the three storages of a
sample run one after another. ANLS is the mean, bytes are those of the kept prompt tokens (codes and scales), ms is
the median time of a new token in `generate`. Without --scores, heads are scored on 20 generated documents first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from sparsemm import FullKV, HeadScores, SparseMM, compress
from sparsemm.benchmarks import Benchmark, Sample, get_benchmark, score_rows
from sparsemm.models.loading import Loaded, build_inputs, load_model
from sparsemm.policies import Policy

MODEL = Path(__file__).parents[1] / "data/models/tiny-llava-next-vicuna"
STORAGES = ("auto", "int8", "int4")
WINDOW = 8


class Ticks:
    """A streamer that only takes the time of every token."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, tokens: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Nothing is shown."""


def scored(loaded: Loaded) -> HeadScores:
    """Head scores of the model on 20 generated documents."""
    from sparsemm import score_heads
    from sparsemm.heads.probe import generate_probe

    return score_heads(loaded.model, loaded.processor, generate_probe(20, 1), max_new_tokens=256)


def answer(
    loaded: Loaded, benchmark: Benchmark, sample: Sample, policy: Policy, storage: str
) -> dict[str, Any]:
    """Score, bytes and ms a token of one sample."""
    inputs = build_inputs(loaded, [sample.image.open()], [benchmark.prompt(sample.data)])
    ticks = Ticks()
    with compress(loaded.model, policy, storage=storage) as run:
        out = loaded.model.generate(
            **inputs,
            max_new_tokens=benchmark.generation(loaded.family).max_new_tokens,
            do_sample=False,
            streamer=ticks,
        )
    text = loaded.processor.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    steps = [1e3 * (b - a) for a, b in zip(ticks.times[1:], ticks.times[2:])]  # the first is the prompt
    return {
        "text": text,
        "score": score_rows(benchmark, [sample.data], [text])[1],
        "bytes": run.cache_bytes,
        "ms": steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--budget", type=int, default=24)
    parser.add_argument("--scores", type=Path)
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    given = parser.parse_args()
    loaded, benchmark = load_model(MODEL), get_benchmark("synth-docvqa")
    scores = HeadScores.load(given.scores) if given.scores else scored(loaded)
    samples = list(benchmark.load(given.samples, 0))
    rows = []
    print(f"{'policy':22s} {'storage':8s} {'ANLS':>7s} {'same':>6s} {'bytes':>9s} {'ms':>7s}")
    for policy in (FullKV(), SparseMM(scores, budget=given.budget, window=WINDOW)):
        found: dict[str, list[dict[str, Any]]] = {storage: [] for storage in STORAGES}
        for sample in samples:
            for storage in STORAGES:
                found[storage].append(answer(loaded, benchmark, sample, policy, storage))
        label = type(policy).__name__ + ("" if policy.budget is None else f" {policy.budget}")
        for storage, answers in found.items():
            row = {
                "policy": label,
                "storage": "float32" if storage == "auto" else storage,
                "anls": statistics.mean(each["score"] for each in answers),
                "same_answers": statistics.mean(
                    a["text"] == b["text"] for a, b in zip(answers, found["auto"])
                ),
                "cache_bytes": round(statistics.mean(each["bytes"] for each in answers)),
                "ms_per_token": statistics.median(ms for each in answers for ms in each["ms"]),
            }
            rows.append(row)
            print(
                f"{row['policy']:22s} {row['storage']:8s} {row['anls']:7.4f} {row['same_answers']:6.2f} "
                f"{row['cache_bytes']:9d} {row['ms_per_token']:7.2f}",
                flush=True,
            )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
