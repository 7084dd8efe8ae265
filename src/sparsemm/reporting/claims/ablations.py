"""C5: a uniform share of 0.1 beats none and all. C6: each part of the budget adds to the quality."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sparsemm.reporting.claims.base import Claim, above, judged
from sparsemm.reporting.claims.evidence import Cells, Evidence
from sparsemm.reporting.claims.thresholds import RHO, RHO_ENDS

# The two steps from one part of the budget to the next: (larger, smaller) and their words.
_STEPS = {
    ("sparsemm[rho=1.0]", "local_window"): "A window and an even share of the budget beat the window alone.",
    ("sparsemm", "sparsemm[rho=1.0]"): "Shares by visual score beat even shares.",
}


def rho(evidence: Evidence, model: str) -> list[Claim]:
    """C5a, C5b: the score at rho 0.1 minus that at 0 and at 1, at the budget of the sweep, paired by sample."""
    claims = []
    for letter, end in zip("ab", RHO_ENDS):
        theirs, of = evidence.paper(model).rho(end)
        claim = Claim(
            f"C5{letter}",
            model,
            "",
            f"rho {RHO:g} beats rho {end:g}.",
            bound=0.0,
            detail="the sweep of rho was not run",
            paper=theirs,
            paper_of=of,
        )
        rows = [_of_sweep(claim, cells, end) for cells in evidence.all_cells(model)]
        claims += [row for row in rows if row is not None] or [claim]
    return claims


def _of_sweep(claim: Claim, cells: Cells, end: float) -> Claim | None:
    labels = {float(value): label for value, label in cells.settings("rho").items()}
    # The ablation of the parts has rho 1 too: a sweep has both ends.
    if not {*RHO_ENDS} <= set(labels):
        return None
    budgets = cells.budgets(labels[RHO_ENDS[0]])
    default = labels.get(RHO, "sparsemm")
    tests = []
    for budget in budgets:
        if (default, budget) in cells and (labels[end], budget) in cells:
            effect, draws = cells.difference((default, budget), (labels[end], budget))
            tests.append(above(f"at {budget}", effect, draws, 0.0))
    return judged(replace(claim, where=cells.benchmark), tests) if tests else None


def parts(evidence: Evidence, model: str) -> list[Claim]:
    """C6a, C6b: the mean gain from each part over the budgets of the ablation, paired by sample.

    The mean, for the paper's own table has ties at large budgets.
    """
    claims = []
    for letter, ((more, less), statement) in zip("ab", _STEPS.items()):
        theirs, of = evidence.paper(model).parts(more, less)
        claim = Claim(
            f"C6{letter}",
            model,
            "",
            statement,
            bound=0.0,
            detail="the ablation of the budget's parts was not run",
            paper=theirs,
            paper_of=of,
        )
        rows = []
        for cells in evidence.all_cells(model):
            ablation = cells.budgets("local_window")
            budgets = [b for b in ablation if (more, b) in cells and (less, b) in cells]
            if budgets:
                found = [cells.difference((more, budget), (less, budget)) for budget in budgets]
                draws = np.mean([one for _, one in found], axis=0)
                effect = float(np.mean([point for point, _ in found]))
                name = "mean of budgets " + ", ".join(map(str, budgets))
                said = ", ".join(f"{point:+.3f}" for point, _ in found)
                test = above(name, effect, draws, 0.0)
                rows.append(judged(replace(claim, where=cells.benchmark), [test], detail=said))
        claims += rows or [claim]
    return claims
