"""How much the heads found on several probe sets agree: rank correlation, and overlap of the best heads.

Pure functions of score tables and of result files of the kinds scores and score_samples. Intervals are of a bootstrap
over the images of both sets. The halves of one set, scored apart, tell how much two sets could agree at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsemm.errors import InputError
from sparsemm.reporting.notes import why_uniform
from sparsemm.reporting.summary import Paths, as_paths, in_order, top_heads
from sparsemm.results.parquet import read_table
from sparsemm.stats import interval, resample_counts, spearman, top_overlap

Floats = NDArray[np.float64]
BASE = "probe"  # the probe set that SparseMM's scores are from
_DRAWS = 1000


class Agreement(NamedTuple):
    """Agreement of two rankings of the same heads.

    Attributes:
        spearman: rank correlation over all heads, -1 to 1.
        overlap: share of the best heads that both have, 0 to 1.
    """

    spearman: float
    overlap: float


@dataclass(frozen=True, eq=False)
class Ranking:
    """The scores of a model's heads from one probe set.

    Attributes:
        model: its name.
        probe: the set's name, `BASE` for the probe set.
        scores: [heads], layer by layer; they sum to 1.
        weights: [images, heads], what each image adds; None where it is not known.
        uniform: why all heads have the same score; empty where they do not.
    """

    model: str
    probe: str
    scores: Floats
    weights: Floats | None = None
    uniform: str = ""

    def resampled(self, draws: int, seed: int) -> Floats:
        """Scores from resampled images, not brought to sum 1, [draws, heads]; the scores where no image is known."""
        if self.weights is None or not self.weights.any():
            return np.repeat(self.scores[None], draws, axis=0)
        counts = resample_counts(len(self.weights), draws=draws, seed=seed)
        return np.concatenate([block @ self.weights for block in counts])


def agree(a: Floats, b: Floats, top: int | None = None) -> Agreement:
    """Agreement of two score vectors [heads].

    Args:
        a, b: scores of the same heads in the same order.
        top: heads that count as the best; None for the top 10 %, rounded, at least one.

    Raises:
        InputError: vectors of other lengths.
    """
    if a.shape != b.shape or a.ndim != 1:
        raise InputError(f"scores of shapes {a.shape} and {b.shape} cannot be compared")
    return Agreement(spearman(a, b), top_overlap(a, b, top or top_heads(0.1, len(a))))


def agreement_interval(
    a: Ranking, b: Ranking, *, level: float = 0.95, draws: int = _DRAWS
) -> tuple[Agreement, Agreement]:
    """Lower and upper ends of the agreement's bootstrap interval over the images of both sets."""
    pairs = zip(a.resampled(draws, 0), b.resampled(draws, 1))
    found = np.array([agree(first, second) for first, second in pairs])
    low, high = interval(found, level=level)
    return Agreement(*map(float, low)), Agreement(*map(float, high))


def split_half(ranking: Ranking, *, draws: int = 200, seed: int = 0) -> Agreement | None:
    """Mean agreement of two random halves of a set's images; None with fewer than two images or no hits.

    Two other sets of half as many images could not be expected to agree more.
    """
    weights = ranking.weights
    if weights is None or len(weights) < 2 or not weights.any():
        return None
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        order = rng.permutation(len(weights))
        halves = (
            weights[order[: len(order) // 2]].sum(axis=0),
            weights[order[len(order) // 2 :]].sum(axis=0),
        )
        found.append(agree(*halves))
    return Agreement(*map(float, np.mean(found, axis=0)))


def read_rankings(
    scores: Paths, set_scores: Paths = (), samples: Paths = (), set_samples: Paths = ()
) -> list[Ranking]:
    """The rankings of a run, model by model, the probe set's first.

    Args:
        scores: files of kind scores, named .../<model>.parquet.
        set_scores: the same of further probe sets, named .../<set>/<model>.parquet.
        samples: files of kind score_samples of the probe set, for intervals; may be left out.
        set_samples: the same of further probe sets.

    Raises:
        InputError: for a file that cannot be read, and for samples whose heads differ from those of the scores.
    """
    kept = [(path.stem, BASE, path) for path in as_paths(scores)]
    kept += [(path.stem, path.parent.name, path) for path in as_paths(set_scores)]
    of_images = {(path.stem, BASE): path for path in as_paths(samples)}
    of_images |= {(path.stem, path.parent.name): path for path in as_paths(set_samples)}
    found = [_read(model, probe, path, of_images.get((model, probe))) for model, probe, path in kept]
    return [ranking for model in in_order(r.model for r in found) for ranking in of_model(found, model)]


def of_model(rankings: Iterable[Ranking], model: str) -> list[Ranking]:
    """The rankings of one model, in their order."""
    return [ranking for ranking in rankings if ranking.model == model]


def agreements(rankings: Iterable[Ranking], *, level: float = 0.95, draws: int = _DRAWS) -> pd.DataFrame:
    """Agreement of every further probe set with the probe set, one row per model and set.

    Columns: model, probe, heads, top (heads that count as the best), spearman, spearman_low, spearman_high, overlap,
    overlap_low, overlap_high, overlap_by_chance, half_spearman and half_overlap (of the halves of the further set; NaN
    where its images are not known), uniform (why there is nothing to compare; the numbers are NaN then).
    """
    every = list(rankings)
    rows = []
    for model in in_order(ranking.model for ranking in every):
        own = of_model(every, model)
        base = next((ranking for ranking in own if ranking.probe == BASE), None)
        if base is not None:
            rows += [_row(base, other, level, draws) for other in own if other is not base]
    return pd.DataFrame(rows, columns=_COLUMNS)


_COLUMNS = ["model", "probe", "heads", "top"]
_COLUMNS += [f"{kind}{end}" for kind in ("spearman", "overlap") for end in ("", "_low", "_high")]
_COLUMNS += ["overlap_by_chance", "half_spearman", "half_overlap", "uniform"]


def _row(base: Ranking, other: Ranking, level: float, draws: int) -> dict[str, object]:
    heads, top = len(base.scores), top_heads(0.1, len(base.scores))
    uniform = base.uniform or other.uniform
    row: dict[str, object] = {"model": base.model, "probe": other.probe, "heads": heads, "top": top}
    row |= {"overlap_by_chance": top / heads, "uniform": uniform}
    if uniform:
        return row
    point, (low, high) = (
        agree(base.scores, other.scores),
        agreement_interval(base, other, level=level, draws=draws),
    )
    half = split_half(other)
    for kind in Agreement._fields:
        row |= {
            kind: getattr(point, kind),
            f"{kind}_low": getattr(low, kind),
            f"{kind}_high": getattr(high, kind),
        }
        row[f"half_{kind}"] = None if half is None else getattr(half, kind)
    return row


def _read(model: str, probe: str, path: Path, samples: Path | None) -> Ranking:
    frame = read_table(path, "scores", ["layer", "head", "score"]).sort_values(["layer", "head"])
    weights = None
    if samples is not None:
        columns = ["image_id", "layer", "head", "weight"]
        table = read_table(samples, "score_samples", columns).pivot(
            index="image_id", columns=["layer", "head"], values="weight"
        )
        heads = pd.MultiIndex.from_frame(frame[["layer", "head"]])
        if set(heads) != set(table.columns) or table.isna().to_numpy().any():
            raise InputError(f"{samples}: heads or images are missing; score the heads again")
        weights = table[heads].to_numpy(np.float64)
    return Ranking(model, probe, frame["score"].to_numpy(np.float64), weights, why_uniform(path))
