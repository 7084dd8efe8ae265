"""C7: heads found on other probe sets agree with those of the run's own probe set, and serve as well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from sparsemm.reporting.claims.base import Claim, Test, above, below, judged
from sparsemm.reporting.claims.evidence import Evidence, Floats
from sparsemm.reporting.claims.thresholds import AGREEMENT, LOW_BUDGET, MARGIN, TOP_AGREED
from sparsemm.reporting.summary import top_heads
from sparsemm.stats import sides, spearman, top_overlap

# Sets of objects, not of text: the paper finds that heads found by detection serve worse.
DETECTION = ("shapes",)
_DRAWS = 1000  # each ranks the heads of two sets
_SIGMAS = 2 * 1.96  # standard deviations between the ends of a 95 % interval


def probe_sets(evidence: Evidence, model: str) -> list[Claim]:
    """C7a (rank correlation), C7b (overlap of the best 10 %) and C7c (quality), a row for each further probe set.

    The scores of both sets are drawn around their values with the spread that their bootstrap intervals over images
    give each head. Quality: the mean difference to SparseMM with its own heads over the benchmarks and low budgets
    that have both, paired by sample. Sets of objects have C7c alone, the other way round: there the paper finds that
    the heads serve worse. A set of which a model reads too little to score heads is not run.
    """
    claims = []
    text = [name for name in evidence.sets(model) if name not in DETECTION]
    for name in text:
        claims += _agreement(evidence, model, name)
    asked = sorted({*evidence.sets(model), *_evaluated(evidence, model)}, key=lambda name: name in DETECTION)
    claims += [_quality(evidence, model, name) for name in asked]
    if not text:
        claims = [_rank(model, ""), _overlap(model, ""), *claims]
    return sorted(claims if asked else [*claims, _serve(model, "")], key=lambda claim: claim.id)


_ABSENT = "no further probe set was scored"


def _rank(model: str, name: str) -> Claim:
    said = f"Scores from another OCR set rank the heads alike (rank correlation above {AGREEMENT:g})."
    return Claim("C7a", model, name, said, bound=AGREEMENT, detail=_ABSENT)


def _overlap(model: str, name: str) -> Claim:
    most, top = f"{AGREEMENT * 100:g} %", f"{TOP_AGREED * 100:g} %"
    said = f"More than {most} of the best {top} of the heads are the same on another OCR set."
    return Claim("C7b", model, name, said, bound=AGREEMENT, detail=_ABSENT)


def _serve(model: str, name: str) -> Claim:
    if name in DETECTION:
        said, bound = "Heads found on objects serve worse than those found on text.", 0.0
    else:
        said, bound = (
            f"Heads found on another OCR set serve as well at low budgets (margin {MARGIN}).",
            -MARGIN,
        )
    return Claim(
        "C7c", model, name, said, bound=bound, detail="no answers with the heads of another probe set"
    )


def _agreement(evidence: Evidence, model: str, name: str) -> list[Claim]:
    ours, theirs = evidence.scores(model), evidence.scores(model, name)
    rank, overlap = _rank(model, name), _overlap(model, name)
    if unread := evidence.unread(model, name):
        return [replace(claim, detail=unread) for claim in (rank, overlap)]
    if ours is None or theirs is None or len(ours) != len(theirs):
        return [rank, overlap]
    first, second = ours["score"].to_numpy(), theirs["score"].to_numpy()
    pairs = list(zip(_redrawn(ours, seed=0), _redrawn(theirs, seed=1)))
    top = top_heads(TOP_AGREED, len(first))
    correlations = np.array([spearman(a, b) for a, b in pairs])
    shared = np.array([top_overlap(a, b, top) for a, b in pairs])
    return [
        judged(rank, [_alike("", spearman(first, second), correlations)]),
        judged(overlap, [_alike(f"top {top} of {len(first)}", top_overlap(first, second, top), shared)]),
    ]


def _alike(name: str, effect: float, drawn: Floats) -> Test:
    """Test of an agreement that the drawn scores, noisier than the given ones, make too small.

    The interval is moved to the effect, which is itself too small where images are few. So that few images alone do
    not make the claim fail, that is asked of the interval moved twice as far.
    """
    lost = effect - float(drawn.mean())
    test = above(name, effect, drawn + lost, AGREEMENT)
    return replace(test, high=min(test.high, 1.0), p_fails=sides(drawn + 2 * lost, AGREEMENT)[1])


def _redrawn(frame: pd.DataFrame, *, seed: int) -> Floats:
    """Scores [draws, heads] with the spread that their intervals give; a head that never hit stays at 0."""
    spread = (frame["ci_high"] - frame["ci_low"]).to_numpy() / _SIGMAS
    normal = np.random.default_rng(seed).standard_normal((_DRAWS, len(frame)))
    drawn: Floats = np.maximum(frame["score"].to_numpy() + normal * spread, 0.0)
    return drawn


def _evaluated(evidence: Evidence, model: str) -> list[str]:
    return [name for cells in evidence.all_cells(model) for name in cells.settings("probe")]


def _quality(evidence: Evidence, model: str, name: str) -> Claim:
    claim, found, where = _serve(model, name), [], []
    if unread := evidence.unread(model, name):
        return replace(claim, detail=unread)
    for cells in evidence.all_cells(model):
        label = cells.settings("probe").get(name, "")
        budgets = cells.budgets(label, at_most=LOW_BUDGET) if label else []
        own = [cells.difference((label, b), ("sparsemm", b)) for b in budgets if ("sparsemm", b) in cells]
        if own:
            found.append((np.mean([point for point, _ in own]), np.mean([draws for _, draws in own], axis=0)))
            where.append(cells.benchmark)
    if not found:
        return claim
    effect = float(np.mean([point for point, _ in found]))
    draws = np.mean([one for _, one in found], axis=0)
    said = f"mean of {', '.join(where)}"
    if name in DETECTION:
        return judged(claim, [below(said, effect, draws, 0.0)])
    return judged(claim, [above(said, effect, draws, -MARGIN, fails_below=0.0)])
