"""C2: masking visual heads costs far more than masking as many random heads, and the first heads cost most."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sparsemm.reporting.claims.base import Claim, Test, above, judged, without_interval
from sparsemm.reporting.claims.evidence import Evidence, Floats, Resampled
from sparsemm.reporting.claims.thresholds import FAR_MORE, MOST_MASKED
from sparsemm.reporting.summary import top_heads
from sparsemm.stats import ratios

_NONE = ("none", 0.0, 0)


def masking(evidence: Evidence, model: str) -> list[Claim]:
    """C2a and C2b, a row for each benchmark, over the shares of the heads of at most 10 %.

    C2a: the loss from visual heads minus twice the mean loss from random ones, as a share of the score without mask;
    the random heads' spread over their draws is part of the interval. C2b: the loss from the smallest share minus its
    even part of the loss from the largest, as a share of the score without mask.
    """
    far = Claim(
        "C2a",
        model,
        "",
        f"Masking visual heads costs more than {FAR_MORE:g} times what as many random heads cost.",
        bound=0.0,
        detail="no benchmark with masked heads",
    )
    first = replace(far, id="C2b", statement="Of the visual heads, the first ones cost most.")
    frame = evidence.scores(model)
    heads = None if frame is None else len(frame)
    claims = []
    for benchmark, cells in evidence.masks(model).items():
        if _NONE not in cells or not cells.point(_NONE):
            continue
        shares = [f for kind, f, _ in cells.columns if kind == "visual" and f <= MOST_MASKED + 1e-9]
        tests = [_against_random(cells, share) for share in sorted(shares)]
        here = replace(far, where=benchmark)
        said = "; ".join(_losses(cells, share) for share in sorted(shares))
        claims.append(judged(here, tests, detail=f"of {cells.point(_NONE):.3f}: {said}") if tests else here)
        if len(shares) > 1:
            claims.append(
                judged(
                    replace(first, where=benchmark), [_first_heads(cells, min(shares), max(shares), heads)]
                )
            )
    return sorted(claims, key=lambda claim: claim.id) or [far, first]


def _draws_of_random(cells: Resampled, share: float) -> list[tuple[str, float, int]]:
    return [key for key in cells.columns if key[:2] == ("random", share)]


def _losses(cells: Resampled, share: float) -> str:
    keys = _draws_of_random(cells, share)
    random = f"{np.mean([cells.point(key) for key in keys]):.3f}" if keys else "not run"
    return f"{share * 100:g} % masked: visual {cells.point(('visual', share, 0)):.3f}, random {random}"


def _against_random(cells: Resampled, share: float) -> Test:
    """((none - visual) - 2 (none - random)) / none; random heads vary over samples and over their draws."""
    visual, keys, name = (
        ("visual", share, 0),
        _draws_of_random(cells, share),
        f"{share * 100:g} % of the heads",
    )
    if not keys:
        return without_interval(f"{name}, no random heads", float("nan"))
    points = np.array([cells.point(key) for key in keys])
    full = cells.point(_NONE)
    effect = float((FAR_MORE * points.mean() - cells.point(visual)) / full) - (FAR_MORE - 1.0)
    if len(keys) == 1:
        return without_interval(f"{name}, one draw of random heads", effect)
    random = np.mean([cells.draws(key) for key in keys], axis=0)
    # A mean over few draws: its error has a t distribution.
    error = points.std(ddof=1) / np.sqrt(len(keys))
    random = random + np.random.default_rng(0).standard_t(len(keys) - 1, len(random)) * error
    whole = cells.draws(_NONE)
    contrast = FAR_MORE * random - cells.draws(visual) - (FAR_MORE - 1.0) * whole + cells.spread
    return above(name, effect, ratios(contrast, whole), 0.0)


def _first_heads(cells: Resampled, least: float, most: float, heads: int | None) -> Test:
    """((none - visual at `least`) - even (none - visual at `most`)) / none."""
    numbers = [least, most] if heads is None else [top_heads(share, heads) for share in (least, most)]
    even = numbers[0] / numbers[1]

    def contrast(of: list[Floats] | list[float]) -> Floats | float:
        whole, few, many = of
        return (whole - few) - even * (whole - many)

    keys = [_NONE, ("visual", least, 0), ("visual", most, 0)]
    effect = float(contrast([cells.point(key) for key in keys])) / cells.point(_NONE)
    draws = contrast([cells.draws(key) for key in keys]) + cells.spread
    name = f"{least * 100:g} % against {most * 100:g} % of the heads"
    return above(name, effect, ratios(np.asarray(draws), cells.draws(_NONE)), 0.0)
