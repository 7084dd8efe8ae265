"""Are visual heads the copying heads that the language model had? Score tables and masked readings, compared.

Pure functions of result files of the kinds scores, score_samples and reading_masks. Two rankings of the same heads are
compared by rank correlation and by their best heads, with bootstrap intervals over pages and two nulls: one ranking's
heads shuffled among all, and among those of their layer (heads of some layers score high whatever is read).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsemm.methods import MASKS, Look
from sparsemm.reporting.agreement import BASE, Ranking, of_model, read_rankings
from sparsemm.reporting.masked import relative_scores
from sparsemm.reporting.summary import Paths, as_paths, in_order, top_heads
from sparsemm.results.parquet import read_table
from sparsemm.stats import interval, mean_ranks, spearman, top_overlap

Floats = NDArray[np.float64]
# What is read, by which state of the language model.
READINGS = {
    "base": "text, untouched model",
    "text_stage": "text, after the text stage",
    "seeing": "text, after it learned to see",
    "image": "images",
}
KINDS = {
    "visual": MASKS["visual"],
    "copying": Look("copying heads", "#0072B2", "s"),
    "random": MASKS["random"],
}
TOPS = (0.05, 0.1)
# Which rankings are compared; "image" is that of the visual heads.
_PAIRS = (
    ("base", "image"),
    ("text_stage", "image"),
    ("seeing", "image"),
    ("base", "text_stage"),
    ("base", "seeing"),
)
COLUMNS = ["model", "first", "second", "measure", "heads", "value", "low", "high"]
COLUMNS += [f"{null}{part}" for null in ("chance", "layer_chance") for part in ("", "_high", "_p")]
MASK_COLUMNS = ["model", "reading", "kind", "fraction", "full", "kept", "low", "high"]


def read_states(
    scores: Paths, samples: Paths, text_scores: Paths, text_samples: Paths
) -> tuple[list[Ranking], dict[str, int]]:
    """The rankings of the models that read text, and their layers.

    Args:
        scores, samples: of the visual heads, named <model>.parquet.
        text_scores, text_samples: of the heads while text is read, named <reading>/<model>.parquet.

    Raises:
        InputError: for a file that cannot be read.
    """
    models = in_order(path.stem for path in as_paths(text_scores))
    seen = [path for path in as_paths(scores) if path.stem in models]
    of_images = [path for path in as_paths(samples) if path.stem in models]
    layers = {path.stem: int(read_table(path, "scores", ["layer"])["layer"].max()) + 1 for path in seen}
    return read_rankings(seen, text_scores, of_images, text_samples), layers


def comparisons(
    rankings: list[Ranking], layers: dict[str, int], *, level: float = 0.95, draws: int = 1000
) -> pd.DataFrame:
    """One row per pair of rankings and measure (rank correlation, overlap of the best 5 % and 10 %).

    A ranking in which all heads are alike is left out.
    With several models on one language model, the visual heads of each are compared with those of the first too.

    Args:
        rankings: from `read_states`.
        layers: of each model.
        level: of the intervals.
        draws: resamples of the pages, which are drawn together where both rankings have as many; shuffles.
    """
    rows = []
    known = [ranking for ranking in rankings if not ranking.uniform]
    for model, first, second in _pairs(known):
        names = [_name(ranking, model) for ranking in (first, second)]
        for row in _compared(first, second, layers[model], level, draws):
            rows.append(dict(zip(COLUMNS, [model, *names, *row])))
    return pd.DataFrame(rows, columns=COLUMNS)


def unknown(rankings: list[Ranking]) -> dict[str, str]:
    """Models without visual heads, and why: on the probe images nothing was matched or hit."""
    return {
        ranking.model: ranking.uniform for ranking in rankings if ranking.probe == BASE and ranking.uniform
    }


def _pairs(rankings: list[Ranking]) -> Iterator[tuple[str, Ranking, Ranking]]:
    models = in_order(ranking.model for ranking in rankings)
    states = {model: {r.probe: r for r in of_model(rankings, model)} for model in models}
    for model in models:
        own = {"image" if name == BASE else name: r for name, r in states[model].items()}
        yield from ((model, own[a], own[b]) for a, b in _PAIRS if a in own and b in own)
    seen = [model for model in models if BASE in states[model]]
    for model in seen[1:]:
        both = [states[name].get("base") for name in (seen[0], model)]
        if both[0] and both[1] and np.array_equal(both[0].scores, both[1].scores):
            yield model, states[seen[0]][BASE], states[model][BASE]


def _name(ranking: Ranking, model: str) -> str:
    known = READINGS["image" if ranking.probe == BASE else ranking.probe]
    return known if ranking.model == model else f"{known}, {ranking.model}"


def _compared(first: Ranking, second: Ranking, layers: int, level: float, draws: int) -> list[list[object]]:
    """Measure, heads that count, value, ends of its interval, and both nulls with theirs."""
    count = len(first.scores)
    tops = [top_heads(share, count) for share in TOPS]

    def measures(a: Floats, b: Floats) -> list[float]:
        return [spearman(a, b), *(top_overlap(a, b, top) for top in tops)]

    pages = [None if ranking.weights is None else len(ranking.weights) for ranking in (first, second)]
    pairs = zip(first.resampled(draws, 0), second.resampled(draws, 0 if pages[0] == pages[1] else 1))
    values = measures(first.scores, second.scores)
    low, high = interval(np.array([measures(a, b) for a, b in pairs]), level=level)
    nulls = [_by_chance(first.scores, second.scores, tops, order) for order in _orders(count, layers, draws)]
    rows: list[list[object]] = []
    names = ["rank correlation", *(f"best {share * 100:g} %" for share in TOPS)]
    for index, (name, value, top) in enumerate(zip(names, values, [count, *tops])):
        row: list[object] = [name, top, value, float(low[index]), float(high[index])]
        for null in (null[:, index] for null in nulls):
            beyond = int((null >= value - 1e-12).sum())
            row += [float(null.mean()), float(np.quantile(null, level)), (beyond + 1) / (draws + 1)]
        rows.append(row)
    return rows


def _orders(heads: int, layers: int, draws: int) -> Iterator[NDArray[np.int64]]:
    """Orders of the heads, [draws, heads]: shuffled among all, then among those of their layer."""
    rng = np.random.default_rng(0)
    every = np.repeat(np.arange(heads)[None], draws, axis=0)
    yield rng.permuted(every, axis=1)
    yield rng.permuted(every.reshape(draws, layers, -1), axis=2).reshape(draws, -1)


def _by_chance(first: Floats, second: Floats, tops: list[int], orders: NDArray[np.int64]) -> Floats:
    """The measures with the second's heads in other orders [draws, heads], [draws, measures]."""
    sides = []
    for scores in (first, second):
        ranks = mean_ranks(scores) - (scores.size - 1) / 2
        best = np.argsort(-scores, kind="stable")
        members = [np.isin(np.arange(scores.size), best[:top]) / np.sqrt(top) for top in tops]
        sides.append([ranks / max(float(np.linalg.norm(ranks)), 1e-300), *members])
    return np.stack([other[orders] @ one for one, other in zip(*sides)], axis=1)


def masked(paths: Paths, *, without: Collection[str] = (), level: float = 0.95) -> pd.DataFrame:
    """Transcript kept with heads masked: a row a model, reading, kind of mask and share of the heads.

    Args:
        paths: files of kind reading_masks, named .../<reading>/<model>.parquet.
        without: models without visual heads, which could not be masked.
        level: of the bootstrap intervals over pages, and over draws of random heads.

    Returns:
        Columns MASK_COLUMNS: full is the share of the tokens that are found without a mask, kept how much of that is
        left with one. Nothing is left to say of a reading of which nothing is found.

    Raises:
        InputError: for a file that cannot be read.
    """
    rows = []
    for path in as_paths(paths):
        model, reading = path.stem, path.parent.name
        frame = _as_scores(path)
        full = float(frame[frame["kind"] == "none"]["score"].mean())
        kinds = [kind for kind in KINDS if kind != "visual" or model not in without]
        curves = relative_scores(frame, f"{reading} of {model}", level, kinds=kinds)
        for kind, curve in curves.items():
            for point in curve.itertuples(index=False):
                rows.append((model, reading, kind, point.fraction, full, point.ratio, point.low, point.high))
    return pd.DataFrame(rows, columns=MASK_COLUMNS)


def _as_scores(path: Path) -> pd.DataFrame:
    frame = read_table(path, "reading_masks")
    return frame.assign(sample_id=frame["image_id"], score=frame["right"] / frame["tokens"])
