"""A made-up run with a file of every kind, for tests of what is made from result files.

The numbers are plausible and seeded; SparseMM is best at small budgets except where `loser` says otherwise.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from sparsemm.results.parquet import write_table
from sparsemm.results.schemas import SCHEMAS

POLICIES = ("sparsemm", "snapkv", "pyramidkv", "adakv", "random_heads")
STRENGTH = {"sparsemm": 2.2, "snapkv": 0.9, "pyramidkv": 0.8, "adakv": 1.1, "random_heads": 0.7}
RHOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.8, 1.0)


@dataclass
class Run:
    """Paths of the files that `make_run` wrote."""

    scores: list[Path] = field(default_factory=list)
    samples: list[Path] = field(default_factory=list)
    keep: list[Path] = field(default_factory=list)
    predictions: list[Path] = field(default_factory=list)
    run_scores: list[Path] = field(default_factory=list)
    masks: list[Path] = field(default_factory=list)
    efficiency: list[Path] = field(default_factory=list)
    profile: list[Path] = field(default_factory=list)
    maps: list[Path] = field(default_factory=list)


def make_run(
    root: Path,
    *,
    models: tuple[str, ...] = ("tiny-llava-next-vicuna",),
    benchmarks: tuple[str, ...] = ("synth-docvqa", "synth-ocr", "synth-chart"),
    only: dict[str, tuple[str, ...]] | None = None,
    budgets: tuple[int, ...] = (12, 16, 24, 32, 64, 128),
    samples: int = 60,
    layers: int = 6,
    heads: int = 12,
    loser: str = "",
) -> Run:
    """Write a run under `root`. only: benchmark -> its models. loser: where SparseMM is worst."""
    run = Run()
    for model in models:
        _scores(root, run, model, layers, heads)
        _efficiency(root, run, model)
        _maps(root, run, model)
        for benchmark in benchmarks:
            if model in (only or {}).get(benchmark, models):
                _predictions(root, run, model, benchmark, budgets, samples, benchmark == loser)
        for benchmark in benchmarks[:2]:
            _masks(root, run, model, benchmark, samples)
    return run


def _rng(*names: object) -> np.random.Generator:
    return np.random.default_rng(list("/".join(map(str, names)).encode()))


def _scores_of(score: float) -> dict[str, float]:
    """One answer's score, the same by both rule sets."""
    return {"score": score, "score_paper": score, "score_current": score}


def _scores(root: Path, run: Run, model: str, layers: int, heads: int) -> None:
    rng = _rng("scores", model)
    images, count = 40, layers * heads
    mean = rng.pareto(1.1, count) * 0.2
    weight = rng.gamma(1.0, mean[None, :].repeat(images, 0))
    hits = np.minimum(np.ceil(weight * 4).astype(int), 50)
    total = weight.sum(0)
    score = total / total.sum()
    draws = weight[rng.integers(0, images, (200, images))].sum(1)
    low, high = np.quantile(draws / draws.sum(1, keepdims=True), [0.025, 0.975], axis=0)
    layer, head = np.divmod(np.arange(count), heads)
    frame = pd.DataFrame(
        {
            "layer": layer,
            "head": head,
            "kv_head": head,
            "hits": hits.sum(0),
            "matched_tokens": 50 * images,
            "score": score,
            "ci_low": low,
            "ci_high": high,
        }
    )
    run.scores.append(root / "scores" / f"{model}.parquet")
    write_table(run.scores[-1], frame, "scores", {"model": model})
    frame = pd.DataFrame(
        {
            "image_id": np.repeat([f"{i:05d}" for i in range(images)], count),
            "layer": np.tile(layer, images),
            "head": np.tile(head, images),
            "hits": hits.ravel(),
            "matched_tokens": 50,
            "weight": weight.ravel(),
            "mean": weight.ravel() / 50,
        }
    )
    run.samples.append(root / "scores" / "samples" / f"{model}.parquet")
    write_table(run.samples[-1], frame, "score_samples", {"model": model})
    rows = [
        {"policy": p, "budget": 16, "layer": a, "kv_head": b, "keep": 8}
        for p in ("sparsemm", "snapkv")
        for a, b in zip(layer, head)
    ]
    run.keep.append(root / "keep" / f"{model}.parquet")
    write_table(run.keep[-1], pd.DataFrame(rows), "keep", {"model": model})


def _predictions(
    root: Path, run: Run, model: str, benchmark: str, budgets: tuple[int, ...], samples: int, loses: bool
) -> None:
    rng = _rng("predictions", model, benchmark)
    prompt = rng.integers(budgets[-1] * 3, budgets[-1] * 4, samples)
    ease = rng.uniform(size=samples)
    full = 0.92 - 0.1 * rng.uniform()
    cells: list[tuple[str, int, float]] = [("fullkv", 0, full)]
    for budget in budgets:
        for policy in POLICIES:
            strength = 0.4 if loses and policy == "sparsemm" else STRENGTH[policy]
            cells.append((policy, budget, full * (1 - np.exp(-strength * budget / budgets[1]))))
        if benchmark == "synth-docvqa":
            cells.append(("local_window", budget, 0.05 + 0.3 * budget / budgets[-1]))
            cells.append(("sparsemm[rho=1.0]", budget, full * (1 - np.exp(-0.9 * budget / budgets[1]))))
    if benchmark == "synth-ocr":
        cells += [(f"sparsemm[rho={rho}]", budgets[1], full * (0.9 - abs(rho - 0.1) * 0.4)) for rho in RHOS]
    rows = []
    for policy, budget, level in cells:
        noisy = ease + rng.normal(0, 0.05, samples)
        for index in range(samples):
            length = int(prompt[index])
            kept = float(
                length if budget == 0 else min(budget * (0.8 if policy == "sparsemm" else 1.0), length)
            )
            rows.append(
                {
                    "sample_id": f"{index:05d}",
                    "image_id": f"{index:05d}",
                    "policy": policy,
                    "budget": budget,
                    "prediction": "AB 12",
                    "answers": ["AB 12"],
                    **_scores_of(float(noisy[index] < level)),
                    "prompt_tokens": length,
                    "kept_tokens": kept,
                    "cache_bytes": int(kept * 2 * 24 * 4 * 72),
                }
            )
    frame = pd.DataFrame(rows)
    metadata = {"model": model, "benchmark": benchmark, "metric": "ANLS"}
    half = frame["sample_id"] < f"{samples // 2:05d}"
    for shard, selected in enumerate((frame[half], frame[~half])):
        run.predictions.append(root / "predictions" / model / benchmark / f"{shard}.parquet")
        write_table(run.predictions[-1], selected, "predictions", metadata)


def _masks(root: Path, run: Run, model: str, benchmark: str, samples: int) -> None:
    rng = _rng("masks", model, benchmark)
    ease = rng.uniform(size=samples)
    cells = [("none", 0.0, 0, 0.9)]
    for fraction in (0.02, 0.05, 0.1, 0.2):
        cells.append(("visual", fraction, 0, 0.9 * np.exp(-14 * fraction)))
        cells += [("random", fraction, seed, 0.9 * np.exp(-(3 + seed) * fraction)) for seed in range(3)]
    rows = [
        {
            "sample_id": f"{index:05d}",
            "kind": kind,
            "fraction": fraction,
            "seed": seed,
            "prediction": "x",
            "answers": ["x"],
            **_scores_of(float(ease[index] < level)),
        }
        for kind, fraction, seed, level in cells
        for index in range(samples)
    ]
    run.masks.append(root / "masks" / model / f"{benchmark}.parquet")
    write_table(run.masks[-1], pd.DataFrame(rows), "masks", {"model": model, "metric": "ANLS"})


def _efficiency(root: Path, run: Run, model: str) -> None:
    rng = _rng("efficiency", model)
    for policy in ("fullkv", *POLICIES):
        for tokens in (2048, 4096, 8192, 16384, 32768):
            held = tokens if policy == "fullkv" else 256
            rows = [
                {
                    "policy": policy,
                    "budget": 0 if policy == "fullkv" else 256,
                    "input_tokens": tokens,
                    "repeat": repeat,
                    "prefill_s": tokens / 1000,
                    "decode_ms_per_token": (4 + held / 800) * rng.uniform(0.92, 1.08),
                    "peak_bytes": int(6e8 + held * 40_000),
                    "cache_bytes": held * 72 * 2 * 24 * 4,
                    "device": "cpu",
                }
                for repeat in range(3)
            ]
            run.efficiency.append(root / "efficiency" / model / f"{policy}-{tokens}.parquet")
            write_table(run.efficiency[-1], pd.DataFrame(rows), "efficiency", {"model": model})
            run.profile.append(root / "profile" / model / f"{policy}-{tokens}.parquet")
            write_table(run.profile[-1], _profile(rows[0]), "profile", {"model": model})


def _profile(repeat: dict[str, object]) -> pd.DataFrame:
    """Batch 1, and a batch of 8 that does not fit where the full cache is long."""
    about = {key: repeat[key] for key in ("policy", "budget", "input_tokens", "device")}
    about |= {"dtype": "float32", "weights": "checkpoint", "status": "ok"}
    step, cache = float(repeat["decode_ms_per_token"]), int(repeat["cache_bytes"])
    rows = []
    for batch in (1, 8):
        row = dict.fromkeys(SCHEMAS["profile"].names, 1.0) | about | {"batch": str(batch), "rows": batch}
        row |= {
            "decode_ms_per_token": step,
            "tokens_per_s": 1000 * batch / step,
            "peak_bytes": repeat["peak_bytes"],
        }
        row |= {"cache_bytes": batch * cache, "times_floor": 1.5, "achieved_gb_s": 10.0, "copy_gb_s": 15.0}
        rows.append(row)
    if about["policy"] == "fullkv" and int(repeat["input_tokens"]) == 32768:
        given = {"policy", "budget", "input_tokens", "batch", "device", "dtype", "weights", "status"}
        rows[1] = {name: value if name in given else None for name, value in rows[1].items()}
        rows[1]["status"] = "out of memory"
    return pd.DataFrame(rows)


def _maps(root: Path, run: Run, model: str) -> None:
    rng = _rng("maps", model)
    image = Image.new("RGB", (128, 192), "white")
    draw = ImageDraw.Draw(image)
    for line in range(5):
        draw.text((12 + 9 * line, 20 + 34 * line), f"K{line} 40{line}7", fill="black")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    rows = []
    for panel in range(8):
        grid = rng.uniform(0, 0.3, (24, 16))
        if panel < 4:
            for line in range(5):
                grid[2 + line * 4 : 4 + line * 4, 2 + line : 7 + line] += 1.0
        rows.append(
            {
                "panel": panel,
                "layer": panel % 6,
                "head": (panel * 5) % 12,
                "score": 0.2 / (panel + 1) if panel < 4 else 0.0,
                "image": buffer.getvalue(),
                "grid": grid / grid.sum(),
                "token": "",
            }
        )
    run.maps.append(root / "attention_maps" / f"{model}.parquet")
    write_table(run.maps[-1], pd.DataFrame(rows), "attention_maps", {"model": model})
