"""A made-up run of models that read text: copying heads that are the visual heads, or are not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from sparsemm.results.parquet import write_table

from helpers.fake_probes import HEADS, IMAGES, LAYERS, ProbeRun, write_scores

PAGES = 12


@dataclass
class EmergenceRun:
    """Paths of the files that `make_emergence` wrote."""

    probe: ProbeRun = field(default_factory=ProbeRun)
    masks: list[Path] = field(default_factory=list)

    def inputs(self) -> dict[str, list[Path]]:
        """What table and figure read, but the scores."""
        made = self.probe
        return {
            "samples": made.samples,
            "text_scores": made.set_scores,
            "text_samples": made.set_samples,
            "masks": self.masks,
        }


def make_emergence(
    root: Path, *, alike: bool = True, models: tuple[str, ...] = ("smol",), text_stage: bool = False
) -> EmergenceRun:
    """Write a run under `root`.

    Args:
        root: folder of the run.
        alike: whether the heads that copy text are the visual heads; else they are others, drawn at random.
        models: all with the same untouched language model.
        text_stage: whether the state after the text stage is there too.
    """
    run = EmergenceRun()
    base = np.random.default_rng(7).pareto(1.1, LAYERS * HEADS) + 1e-3
    untouched = np.random.default_rng(8).gamma(1.0, np.tile(base, (IMAGES, 1)))
    for model in models:
        rng = np.random.default_rng(list(model.encode()))
        seen = base * rng.uniform(0.5, 1.5, base.size) if alike else rng.permutation(base)
        write_scores(root, run.probe, model, "", rng.gamma(1.0, np.tile(seen, (IMAGES, 1))))
        write_scores(root, run.probe, model, "base", untouched)
        for name in ("text_stage", "seeing")[not text_stage :]:
            write_scores(root, run.probe, model, name, rng.gamma(1.0, np.tile(base + seen, (IMAGES, 1))))
        for reading in ("base", "seeing", "image"):
            run.masks.append(root / "masks" / reading / f"{model}.parquet")
            write_table(run.masks[-1], _masked(rng, alike), "reading_masks", {"model": model})
    return run


def _masked(rng: np.random.Generator, alike: bool) -> pd.DataFrame:
    levels = {"none": 0.0, "visual": 9.0, "copying": 8.0 if alike else 1.0, "random": 1.0}
    rows = []
    for kind, fraction, seed in [
        ("none", 0.0, 0),
        *((kind, share, 0) for kind in ("visual", "copying") for share in (0.02, 0.05, 0.1)),
        *(("random", share, seed) for share in (0.02, 0.05, 0.1) for seed in range(3)),
    ]:
        for page in range(PAGES):
            right = rng.binomial(60, 0.95 * np.exp(-levels[kind] * fraction))
            row = {"image_id": f"{page:05d}", "kind": kind, "fraction": fraction, "seed": seed}
            rows.append(row | {"right": right, "tokens": 60})
    return pd.DataFrame(rows)
