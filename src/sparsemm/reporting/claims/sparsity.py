"""C1: few heads hold most of the visual score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sparsemm.reporting.claims.base import FAILS, HOLDS, Claim, above, judged
from sparsemm.reporting.claims.evidence import Evidence, Floats
from sparsemm.reporting.claims.thresholds import ALPHA, SHUFFLES, TOP_SHARES
from sparsemm.stats import resample_counts

_DRAWS = 2000  # each sorts the heads


def sparsity(evidence: Evidence, model: str) -> list[Claim]:
    """C1: the share of the score that the best 1, 5 and 10 % of the heads hold, against a bound and shuffled hits.

    The interval is the basic bootstrap over probe images with the heads ranked anew in each resample: ranking and
    adding up the same hits makes a share too large, and this corrects it. The claim also fails where the share is no
    larger than that of hits shuffled among the heads of each image.
    """
    weights = evidence.weights(model)
    heads = None if weights is None else weights.shape[1]
    claims = []
    for letter, (share, bound) in zip("abc", TOP_SHARES.items()):
        count = top_heads(share, heads) if heads else None
        theirs, of = evidence.paper(model).top_share(share)
        claim = Claim(
            f"C1{letter}",
            model,
            f"{count} of {heads} heads" if heads else f"top {share * 100:g} %",
            f"The top {share * 100:g} % of the heads hold more than {bound * 100:g} % of the visual score.",
            bound=bound,
            paper=theirs,
            paper_of=of,
            detail="no scores of single probe images",
        )
        if weights is None or count is None:
            claims.append(claim)
        elif not weights.any():
            claims.append(replace(claim, detail="no head hit a word on any probe image"))
        else:
            claims.append(_judged(claim, weights, count))
    return claims


def top_heads(share: float, heads: int) -> int:
    """How many heads a share of them is: rounded, at least one."""
    return max(1, round(share * heads))


def _judged(claim: Claim, weights: Floats, count: int) -> Claim:
    effect = float(held(weights.sum(axis=0)[None], count)[0])
    resampled = np.concatenate([held(block @ weights, count) for block in _resamples(len(weights))])
    found = judged(claim, [above("", effect, 2 * effect - resampled, claim.bound)])
    null = shuffled(weights, count)
    chance = (int((null >= effect).sum()) + 1) / (len(null) + 1)
    verdict = FAILS if found.verdict == HOLDS and chance > ALPHA else found.verdict
    said = f"shuffled hits {null.mean():.3f}, even shares {count / weights.shape[1]:.3f}"
    return replace(found, p_value=max(found.p_value, chance), verdict=verdict, detail=said)


def held(sums: Floats, count: int) -> Floats:
    """Share of each row's sum [R, heads] that its `count` largest values hold; rows without a hit are left out."""
    total = sums.sum(axis=1)
    top = np.partition(sums, sums.shape[1] - count, axis=1)[:, -count:].sum(axis=1)
    shares: Floats = top[total > 0] / total[total > 0]
    return shares


def shuffled(weights: Floats, count: int, *, draws: int = SHUFFLES, seed: int = 0) -> NDArray[np.float64]:
    """What the best heads hold where each image's hits are shuffled among the heads, [draws]."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [held(rng.permuted(weights, axis=1).sum(axis=0)[None], count) for _ in range(draws)]
    )


def _resamples(images: int) -> list[Floats]:
    return list(resample_counts(images, draws=_DRAWS, seed=0))
