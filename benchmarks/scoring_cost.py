"""What scoring a probe image costs over plainly generating the same tokens (target: at most 1.2 times).

    python benchmarks/scoring_cost.py data/models/tiny-llava-next-vicuna

Each image is scored and plainly generated in turn (which goes first alternates), both from the picture on:
preprocessing and prefill count on both sides, matching and counting on the scoring side. The same number of
tokens is forced on both sides. Printed: the median of the per-image ratios over all repeats, with the
medians of the two times.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch

from sparsemm.documents.pages import READ_PROMPT
from sparsemm.errors import InputError
from sparsemm.heads.probe import generate_probe
from sparsemm.heads.recording import generate_greedily
from sparsemm.heads.scoring import score_samples
from sparsemm.heads.settings import ScoringSettings
from sparsemm.models.loading import build_inputs, load_model


def seconds(run: Callable[[], object], device: str) -> float:
    """Wall time of one run, synchronised."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description="Cost of scoring one image over plain generation.")
    parser.add_argument("checkpoint")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=1, help="images scored at once")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    try:
        loaded = load_model(options.checkpoint, device=options.device, dtype=options.dtype)
        probe = generate_probe(options.images * options.batch_size, seed=0)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    model, processor = loaded.model, loaded.processor
    model.generation_config.eos_token_id = None  # every image gives exactly --new-tokens on both sides
    times: dict[str, list[float]] = {"score": [], "plain": []}
    for repeat in range(options.repeats + 1):
        for index in range(options.images):
            batch = probe[index * options.batch_size : (index + 1) * options.batch_size]

            def score(batch=batch):  # type: ignore[no-untyped-def]
                settings = ScoringSettings(READ_PROMPT, options.new_tokens, len(batch), progress=False)
                score_samples(model, processor, batch, settings)

            def plain(batch=batch):  # type: ignore[no-untyped-def]
                inputs = build_inputs(
                    processor, [p.image for p in batch], [READ_PROMPT] * len(batch), model.device
                )
                generate_greedily(model, processor.tokenizer, inputs, options.new_tokens)

            order = ["score", "plain"] if (repeat + index) % 2 else ["plain", "score"]
            for name in order:
                took = seconds(score if name == "score" else plain, options.device)
                if repeat:  # the first round warms up
                    times[name].append(took)
    ratios = [s / p for s, p in zip(times["score"], times["plain"], strict=True)]
    ratio, score_s, plain_s = (statistics.median(x) for x in (ratios, times["score"], times["plain"]))
    print(
        f"scoring {score_s:.3f} s, plain generation {plain_s:.3f} s, ratio {ratio:.3f} "
        f"(median of {len(ratios)}; {options.batch_size} image(s), {options.new_tokens} tokens each)"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
