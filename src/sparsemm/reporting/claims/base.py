"""What a claim is, how tests become a verdict, and what a claim says that was not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sparsemm.reporting.claims.thresholds import ALPHA
from sparsemm.stats import equivalence, holm, interval, sides

HOLDS, FAILS, UNDECIDED, NOT_RUN = "holds", "fails", "undecided", "not run"
VERDICTS = (HOLDS, FAILS, UNDECIDED, NOT_RUN)
NAN = float("nan")
Draws = NDArray[np.float64]


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, judged on one model.

    Attributes:
        id: its number, "C3", with a letter where it has several parts.
        model: of the run.
        where: the benchmark, share of heads or probe set that the row is about.
        statement: the claim, in a sentence.
        effect: the number that is tested; NaN where the claim was not run.
        low, high: its 95 % interval, not corrected for the number of comparisons.
        p_value: one-sided, of the hypothesis that the claim is false.
        verdict: "holds", "fails", "undecided" or "not run".
        paper: the paper's number; NaN where it prints none.
        detail: which comparison is shown, what else was seen, or why the claim was not run.
        bound: the value that the effect must be beyond.
        paper_of: what the paper's number is of.
    """

    id: str
    model: str
    where: str
    statement: str
    effect: float = NAN
    low: float = NAN
    high: float = NAN
    p_value: float = NAN
    verdict: str = NOT_RUN
    paper: float = NAN
    detail: str = ""
    bound: float = NAN
    paper_of: str = ""


@dataclass(frozen=True)
class Test:
    """One comparison that a claim rests on.

    Attributes:
        name: what is compared.
        effect, low, high: the number and its 95 % interval.
        p_holds: of the hypothesis that the claim is false here.
        p_fails: of the hypothesis that it is true here.
        slack: how far the interval is inside the bound; below 0: not inside.
    """

    name: str
    effect: float
    low: float
    high: float
    p_holds: float
    p_fails: float
    slack: float


def above(name: str, effect: float, draws: Draws, bound: float, fails_below: float | None = None) -> Test:
    """Test that an effect is above `bound`; the claim fails where it is below `fails_below` (None: below `bound`)."""
    low, high = _ends(draws)
    p_holds, _ = sides(draws, bound)
    _, p_fails = sides(draws, bound if fails_below is None else fails_below)
    return Test(name, effect, low, high, p_holds, p_fails, low - bound)


def below(name: str, effect: float, draws: Draws, bound: float, fails_above: float | None = None) -> Test:
    """Test that an effect is below `bound`; the claim fails where it is above `fails_above` (None: above `bound`)."""
    other = above(name, -effect, -draws, -bound, None if fails_above is None else -fails_above)
    return Test(name, effect, -other.high, -other.low, other.p_holds, other.p_fails, other.slack)


def within(name: str, effect: float, draws: Draws, margin: float) -> Test:
    """Test that an effect is closer to 0 than `margin`: two one-sided tests."""
    low, high = _ends(draws)
    inside, outside = equivalence(draws, margin)
    return Test(name, effect, low, high, inside, outside, min(margin + low, margin - high))


def without_interval(name: str, effect: float) -> Test:
    """An effect whose spread cannot be known: undecided."""
    return Test(name, effect, NAN, NAN, 1.0, 1.0, -np.inf)


def verdict(tests: Sequence[Test], *, corrected: bool = True) -> str:
    """The verdict of a claim that says something of every one of its tests.

    It holds where each test does: no test need be corrected for that, since all must pass. It fails where one does,
    by Holm's correction over the tests.

    Args:
        tests: at least one.
        corrected: whether `p_fails` still is to be corrected; False where a larger family has been.
    """
    if max(test.p_holds for test in tests) <= ALPHA:
        return HOLDS
    fails = [test.p_fails for test in tests]
    adjusted = holm(fails) if corrected else fails
    return FAILS if any(failed(test, float(p)) for test, p in zip(tests, adjusted)) else UNDECIDED


def failed(test: Test, p_fails: float) -> bool:
    """Whether a test shows its claim to be false: with a margin, an effect may be on the wrong side and pass."""
    return p_fails <= ALPHA < test.p_holds


def least(tests: Sequence[Test]) -> Test:
    """The test that is furthest from passing; the row of a claim shows its effect."""
    return min(tests, key=lambda test: (test.slack, -test.p_holds))


def judged(claim: Claim, tests: Sequence[Test], *, corrected: bool = True, detail: str = "") -> Claim:
    """The claim with effect, interval, p value and verdict of its tests, and their least one named in its detail."""
    shown = least(tests)
    said = [f"least: {shown.name}"] if len(tests) > 1 else [shown.name] if shown.name else []
    said += [detail] if detail else []
    return replace(
        claim,
        effect=shown.effect,
        low=shown.low,
        high=shown.high,
        p_value=max(test.p_holds for test in tests),
        verdict=verdict(tests, corrected=corrected),
        detail="; ".join(said),
    )


def _ends(draws: Draws) -> tuple[float, float]:
    low, high = interval(draws)
    return float(low), float(high)
