"""C3: at low budgets SparseMM is at or above the other methods. C4: with MHA, Random is close to SnapKV."""

from __future__ import annotations

from dataclasses import replace

from sparsemm.methods import label_of
from sparsemm.reporting.claims.base import Claim, Test, above, failed, judged, within
from sparsemm.reporting.claims.evidence import Cells, Evidence
from sparsemm.reporting.claims.thresholds import LOW_BUDGET, MARGIN, MARGIN_RANDOM
from sparsemm.stats import holm

OTHERS = ("snapkv", "pyramidkv", "adakv", "random_heads")


def at_or_above(evidence: Evidence, model: str) -> list[Claim]:
    """C3, a row for each benchmark: SparseMM against each other method at each low budget, paired by sample.

    "At or above" is non-inferiority: a comparison passes where SparseMM is shown to be less than one point below the
    other (one-sided, paired bootstrap over images), and fails where it is shown to be below it at all and less than
    one point is not. Both p values are Holm-corrected over all comparisons of the model, on every benchmark. A row
    holds where all its comparisons pass and fails where one fails.
    """
    claim = Claim(
        "C3",
        model,
        "",
        f"At budgets of at most {LOW_BUDGET * 100:.1f} % of the prompt SparseMM is at or above SnapKV, PyramidKV, "
        f"AdaKV and Random (margin {MARGIN}).",
        bound=-MARGIN,
        detail=_why_not(evidence, model),
    )
    found = {
        cells.benchmark: tests for cells in evidence.all_cells(model) if (tests := _against_others(cells))
    }
    corrected = _corrected([test for tests in found.values() for test in tests])
    rows, begin = [], 0
    for benchmark, tests in found.items():
        own = corrected[begin : begin + len(tests)]
        begin += len(tests)
        theirs, of = evidence.paper(model).difference("sparsemm", OTHERS, benchmark)
        better = sum(test.low > 0 for test in own)
        worse = sum(failed(test, test.p_fails) for test in own)
        said = f"of {len(tests)} comparisons {better} have an interval above 0, {worse} are shown to be below"
        here = replace(claim, where=benchmark, paper=theirs, paper_of=of)
        rows.append(judged(here, own, corrected=False, detail=said))
    return rows or [_beside(claim, evidence, model)]


def _beside(claim: Claim, evidence: Evidence, model: str) -> Claim:
    theirs, of = evidence.paper(model).difference("sparsemm", OTHERS, "")
    return replace(claim, paper=theirs, paper_of=of)


def _against_others(cells: Cells) -> list[Test]:
    tests = []
    for budget in cells.budgets("sparsemm", at_most=LOW_BUDGET):
        for other in OTHERS:
            if (other, budget) in cells:
                effect, draws = cells.difference(("sparsemm", budget), (other, budget))
                name = f"{label_of(other)} at {budget}"
                tests.append(above(name, effect, draws, -MARGIN, fails_below=0.0))
    return tests


def _corrected(tests: list[Test]) -> list[Test]:
    """The tests with both p values Holm-corrected over all of them."""
    holds, fails = holm([test.p_holds for test in tests]), holm([test.p_fails for test in tests])
    return [replace(t, p_holds=float(a), p_fails=float(b)) for t, a, b in zip(tests, holds, fails)]


def random_close(evidence: Evidence, model: str) -> list[Claim]:
    """C4, a row for each benchmark: at each low budget Random and SnapKV differ by less than a margin.

    Each is a pair of one-sided tests. Models with GQA have one row that says that the claim is not about them.
    """
    claim = Claim(
        "C4",
        model,
        "",
        f"With MHA, Random is within {MARGIN_RANDOM} of SnapKV at low budgets.",
        bound=MARGIN_RANDOM,
        detail=_why_not(evidence, model),
    )
    mha = evidence.is_mha(model)
    if not mha:
        return [
            replace(claim, detail="a claim about MHA; this model has GQA" if mha is False else claim.detail)
        ]
    rows = []
    for cells in evidence.all_cells(model):
        tests = []
        for budget in cells.budgets("random_heads", at_most=LOW_BUDGET):
            if ("snapkv", budget) in cells:
                effect, draws = cells.difference(("random_heads", budget), ("snapkv", budget))
                tests.append(within(f"at {budget}", effect, draws, MARGIN_RANDOM))
        if tests:
            theirs, of = evidence.paper(model).difference(
                "random_heads", ["snapkv"], cells.benchmark, largest=True
            )
            rows.append(judged(replace(claim, where=cells.benchmark, paper=theirs, paper_of=of), tests))
    return rows or [claim]


def _why_not(evidence: Evidence, model: str) -> str:
    if not evidence.benchmarks(model):
        return "no benchmark was run"
    return "no benchmark has a score of both methods at a low budget"
