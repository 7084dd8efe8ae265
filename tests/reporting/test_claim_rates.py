"""Claims on made-up results whose truth is known: a true effect is found, a false one is not, at the stated rates.

At a false claim's bound a test may say "holds" in 2.5 % of runs. A run of 60 has 1.5 of them; seeds are fixed, so that
the counts are too, and more than 5 (chance: below 1 %) would be a fault of the tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from sparsemm.reporting.claims import CLAIMS, FAILS, HOLDS, UNDECIDED
from sparsemm.reporting.claims.comparison import OTHERS

from helpers.claim_runs import BENCHMARK, MODEL, MadeUp, answers

RUNS = 60
FALSE = 5
Make = Callable[[np.random.Generator], MadeUp]


def verdicts(number: str, make: Make, *, runs: int = RUNS) -> dict[str, Counter[str]]:
    """How often each part of a claim gets each verdict."""
    found: dict[str, Counter[str]] = {}
    for seed in range(runs):
        for claim in CLAIMS[number](make(np.random.default_rng(seed)), MODEL):
            found.setdefault(claim.id, Counter())[claim.verdict] += 1
    return found


def cells(count: int, levels: dict[tuple[str, int], float], *, share: int = 1) -> Make:
    """Runs of cells with these mean scores; `share` samples an image, all alike."""
    images = [str(index // share) for index in range(count)]

    def make(rng: np.random.Generator) -> MadeUp:
        drawn = answers(rng, count // share, levels)
        return MadeUp(
            cells={BENCHMARK: {key: np.repeat(values, share) for key, values in drawn.items()}}, images=images
        )

    return make


def against(
    gain: float, others: tuple[str, ...] = OTHERS[:1], *, level: float = 0.6
) -> dict[tuple[str, int], float]:
    """SparseMM and other methods at a budget of 32."""
    return {("sparsemm", 32): level + gain} | {(other, 32): level for other in others}


@pytest.mark.parametrize(
    ("count", "share", "level"),
    [(60, 1, 0.6), (240, 4, 0.6), (60, 1, 0.02)],
    ids=["plain", "images", "floor"],
)
def test_a_method_one_point_below_is_not_at_or_above(count: int, share: int, level: float) -> None:
    found = verdicts("C3", cells(count, against(-0.01, level=level), share=share))
    assert found["C3"][HOLDS] <= FALSE


def test_at_or_above_finds_better_and_worse_methods() -> None:
    assert verdicts("C3", cells(150, against(0.25, OTHERS)))["C3"][HOLDS] >= 0.9 * RUNS
    assert verdicts("C3", cells(150, against(-0.25, OTHERS)))["C3"][FAILS] >= 0.9 * RUNS
    same = verdicts("C3", cells(100, against(0.0, OTHERS)))["C3"]
    assert same[FAILS] <= FALSE
    assert same[UNDECIDED] >= 0.8 * RUNS  # a margin of one point needs thousands of samples


def test_one_worse_method_among_better_ones_fails_the_claim() -> None:
    levels = against(0.25, OTHERS) | {("adakv", 32): 0.98}
    assert verdicts("C3", cells(150, levels))["C3"][HOLDS] == 0


def random(difference: float) -> dict[tuple[str, int], float]:
    """Random heads and SnapKV at a low budget."""
    return {("random_heads", 32): 0.5 + difference, ("snapkv", 32): 0.5}


def test_random_close_to_snapkv_is_an_equivalence() -> None:
    assert verdicts("C4", cells(300, random(0.05)))["C4"][HOLDS] <= FALSE
    assert verdicts("C4", cells(2000, random(0.0)), runs=20)["C4"][HOLDS] >= 18
    assert verdicts("C4", cells(200, random(0.3)), runs=20)["C4"][FAILS] >= 18
    assert verdicts("C4", cells(200, random(-0.3)), runs=20)["C4"][FAILS] >= 18


def sweep(gain: float) -> dict[tuple[str, int], float]:
    """A sweep of rho whose middle is `gain` above its ends."""
    return {
        ("sparsemm[rho=0.0]", 32): 0.5,
        ("sparsemm[rho=0.1]", 32): 0.5 + gain,
        ("sparsemm[rho=1.0]", 32): 0.5,
    }


def parts(gain: float) -> dict[tuple[str, int], float]:
    """The parts of the budget, each `gain` above the one before."""
    return {("local_window", 32): 0.5 - gain, ("sparsemm[rho=1.0]", 32): 0.5, ("sparsemm", 32): 0.5 + gain}


@pytest.mark.parametrize(("number", "levels"), [("C5", sweep), ("C6", parts)])
def test_gains_are_found_and_nulls_are_not(
    number: str, levels: Callable[[float], dict[tuple[str, int], float]]
) -> None:
    for counts in verdicts(number, cells(60, levels(0.0))).values():
        assert counts[HOLDS] <= FALSE
        assert counts[FAILS] <= FALSE
    assert all(c[HOLDS] >= 18 for c in verdicts(number, cells(150, levels(0.25)), runs=20).values())
    assert all(c[FAILS] >= 18 for c in verdicts(number, cells(150, levels(-0.25)), runs=20).values())


def kept(share: float) -> dict[tuple[str, int], float]:
    """SparseMM at 10 % of a prompt of 400 tokens with this share of FullKV's score."""
    return {("fullkv", 0): 0.9, ("sparsemm", 40): 0.9 * share}


def test_quality_is_a_share_with_an_interval() -> None:
    assert verdicts("C9", cells(100, kept(0.95)))["C9a"][HOLDS] <= FALSE
    assert verdicts("C9", cells(500, kept(1.0)), runs=20)["C9a"][HOLDS] >= 15
    assert verdicts("C9", cells(100, kept(0.6)), runs=20)["C9a"][FAILS] >= 18


def masked(
    visual: tuple[float, float], random: tuple[float, float], *, draws: int = 5, spread: float = 0.1
) -> Make:
    """Runs with 2 and 10 % of the heads masked; random heads differ by draw."""

    def make(rng: np.random.Generator) -> MadeUp:
        levels = {("none", 0.0, 0): 0.9}
        for fraction, seen, drawn in zip((0.02, 0.1), visual, random):
            levels[("visual", fraction, 0)] = seen
            for seed in range(draws):
                levels[("random", fraction, seed)] = drawn + spread * rng.uniform(-1.0, 1.0)
        return MadeUp(masks={BENCHMARK: answers(rng, 60, levels)})

    return make


@pytest.mark.parametrize("draws", [2, 5])
def test_masked_heads_at_twice_the_loss_are_not_far_more(draws: int) -> None:
    assert verdicts("C2", masked((0.5, 0.5), (0.7, 0.7), draws=draws))["C2a"][HOLDS] <= FALSE


def test_masked_heads_far_more_alike_and_in_order() -> None:
    far = verdicts("C2", masked((0.3, 0.05), (0.88, 0.85), spread=0.02), runs=20)
    assert far["C2a"][HOLDS] >= 18
    assert far["C2b"][HOLDS] >= 18
    assert verdicts("C2", masked((0.4, 0.2), (0.4, 0.2), spread=0.02), runs=20)["C2a"][FAILS] >= 18
    even = verdicts("C2", masked((0.74, 0.1), (0.8, 0.8)))["C2b"]  # a fifth of the heads, a fifth of the loss
    assert even[HOLDS] <= FALSE
    late = verdicts("C2", masked((0.9, 0.1), (0.8, 0.8)), runs=20)["C2b"]
    assert late[FAILS] >= 18


def heads_of(share: float) -> Make:
    """Probe images on which the best 5 of 100 heads get this share of the hits."""
    rates = np.full(100, (1.0 - share) / 95)
    rates[:5] = share / 5
    return lambda rng: MadeUp(weights=rng.poisson(rates * 40, (40, 100)).astype(float))


def test_sparsity_beyond_its_bound_and_chance() -> None:
    assert verdicts("C1", heads_of(0.5), runs=20)["C1b"][HOLDS] <= 3
    assert verdicts("C1", heads_of(0.6), runs=5)["C1b"][HOLDS] == 5
    assert verdicts("C1", heads_of(0.4), runs=5)["C1b"][FAILS] == 5
    assert verdicts("C1", heads_of(0.05), runs=3)["C1b"][FAILS] == 3


def growing(share: float, noise: float) -> Make:
    """Latencies that grow by this share from 2K to 32K tokens, for both policies."""
    tokens = np.array([2048.0, 4096.0, 8192.0, 16384.0, 32768.0])
    line = 10.0 + 10.0 * share * (tokens - 2048) / 30720

    def make(rng: np.random.Generator) -> MadeUp:
        times = {
            name: (tokens, line * (1 + noise * rng.standard_normal(5))) for name in ("sparsemm", "fullkv")
        }
        return MadeUp(times=times)

    return make


def test_latency_flat_growing_and_at_the_bound() -> None:
    for counts in verdicts("C8", growing(0.1, 0.03)).values():
        assert counts[HOLDS] <= FALSE
    flat, steep = verdicts("C8", growing(0.0, 0.01)), verdicts("C8", growing(1.0, 0.03))
    assert flat["C8a"][HOLDS] >= 0.9 * RUNS
    assert flat["C8b"][FAILS] >= 0.9 * RUNS
    assert steep["C8a"][FAILS] >= 0.9 * RUNS
    assert steep["C8b"][HOLDS] >= 0.9 * RUNS


def probes(alike: float, *, gain: float = 0.0, name: str = "scripts") -> Make:
    """A further probe set whose scores are the run's own in this share of the heads, and the quality they give."""

    def make(rng: np.random.Generator) -> MadeUp:
        own = rng.gamma(0.5, size=60)
        other = np.where(rng.uniform(size=60) < alike, own, rng.permutation(own))
        levels = {("sparsemm", 32): 0.6, (f"sparsemm[probe={name}]", 32): 0.6 + gain}
        spread = np.full(60, 0.02)
        return MadeUp(
            cells={BENCHMARK: answers(rng, 150, levels)}, scores={"": (own, spread), name: (other, spread)}
        )

    return make


def test_probe_sets_agree_or_not_and_serve_or_not() -> None:
    alike, apart = verdicts("C7", probes(1.0), runs=4), verdicts("C7", probes(0.0, gain=-0.3), runs=4)
    assert alike["C7a"][HOLDS] == alike["C7b"][HOLDS] == 4
    assert apart["C7a"][FAILS] == apart["C7c"][FAILS] == 4
    objects = verdicts("C7", probes(0.0, gain=-0.3, name="shapes"), runs=4)
    assert objects["C7c"][HOLDS] == 4
    assert verdicts("C7", probes(1.0, gain=0.3, name="shapes"), runs=4)["C7c"][FAILS] == 4
