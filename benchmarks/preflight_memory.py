"""Peak bytes of tensors in the engine, measured, beside preflight's estimate.

    python benchmarks/preflight_memory.py [--benchmark synth-docvqa] [--batch 10]

The measured number is the most bytes that torch's CPU allocator held at once while one batch was answered in all cells
(every allocation and release is an event of torch's profiler), with the weights. The estimate gets the batch's real
length and answers of the longest length.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from engine_cost import all_pairs
from torch.profiler import ProfilerActivity, profile

from sparsemm.benchmarks import get_benchmark
from sparsemm.evaluation.batches import batches
from sparsemm.evaluation.engine.run import run_cells
from sparsemm.evaluation.evaluate import make_cells
from sparsemm.models.loading import Loaded, build_inputs, load_model, shape
from sparsemm.preflight.memory import Memory, Work, job_memory
from sparsemm.preflight.sizes import read_sizes
from sparsemm.preflight.weights import local_weights

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "data/models/tiny-llava-next-vicuna"


class Compared(NamedTuple):
    """Bytes of one batch."""

    measured: int
    estimated: Memory


def compare(loaded: Loaded, folder: Path, benchmark: str, batch: int, config: dict[str, Any]) -> Compared:
    """Answer one batch of a benchmark in all of its cells, as evaluation does.

    Args:
        loaded: the model of `folder`.
        folder: with its config.json and weights.
        benchmark: a generated one.
        batch: samples.
        config: a configuration, for cells and answer lengths.
    """
    entry = config["benchmarks"][benchmark]
    sizes = shape(loaded.model)
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([0.1] * (sizes.num_layers * sizes.num_heads)).reshape(sizes.num_layers, -1)
    options = {key: config[key] for key in ("window", "kernel", "rho", "beta", "floor", "seed")}
    pairs = all_pairs(config, benchmark)
    cells = make_cells(pairs, scores=scores, num_kv_heads=sizes.num_kv_heads, **options)
    source = get_benchmark(benchmark)
    samples = next(batches(list(source.load(batch, 0)), batch))
    inputs = build_inputs(
        loaded, [sample.image.open() for sample in samples], [source.prompt(s.data) for s in samples]
    )
    tokens = inputs["input_ids"].shape[1]
    new_tokens = entry["max_new_tokens"]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run_cells(loaded.model, inputs, [cell.policy for cell in cells], max_new_tokens=new_tokens, stop=())
    weights = sum(each.nbytes for each in loaded.model.parameters())
    image_tokens = int((inputs["input_ids"] == sizes.image_token_id).sum(-1).max())
    work = Work(pairs, tokens, image_tokens, config["window"], new_tokens, batch, 4, "cpu")
    estimated = job_memory(read_sizes(folder / "config.json"), local_weights(folder), work)
    return Compared(weights + most_held(profiled), estimated)


def most_held(profiled: Any) -> int:
    """The most bytes held at once of what was allocated while the profiler ran."""
    events = [each for each in profiled.profiler.kineto_results.events() if each.name() == "[memory]"]
    held = np.cumsum([each.nbytes() for each in sorted(events, key=lambda each: each.start_ns())])
    return int(held.max(initial=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--benchmark", action="append", help="default: all of config.yaml")
    parser.add_argument("--batch", type=int, action="append", help="default: 1 and 10")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    loaded = load_model(MODEL)
    for benchmark in options.benchmark or config["benchmarks"]:
        for batch in options.batch or [1, 10]:
            measured, estimated = compare(loaded, MODEL, benchmark, batch, config)
            parts = ", ".join(f"{name} {value / 1e6:.1f}" for name, value in vars(estimated).items())
            print(
                f"{benchmark}, batch {batch}: measured {measured / 1e6:.1f} MB, estimated "
                f"{estimated.peak / 1e6:.1f} MB, ratio {estimated.peak / measured:.2f} ({parts})",
                flush=True,
            )


if __name__ == "__main__":
    main()
