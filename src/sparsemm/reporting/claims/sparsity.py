"""C1: few heads hold most of the visual score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sparsemm.reporting.claims.base import FAILS, HOLDS, Claim, above, judged
from sparsemm.reporting.claims.evidence import Evidence, Floats
from sparsemm.reporting.claims.thresholds import ALPHA, SHUFFLES, TOP_SHARES
from sparsemm.reporting.summary import top_heads
from sparsemm.stats import resample_counts

_DRAWS = 2000  # each sorts the heads


def sparsity(evidence: Evidence, model: str) -> list[Claim]:
    """C1: the share of the score that the best 1, 5 and 10 % of the heads hold, against a bound and shuffled hits.

    The interval is the basic bootstrap over probe images with the heads ranked anew in each resample: ranking and
    adding up the same hits makes a share too large, and this corrects it. The claim also fails where the share is no
    larger than that of hits shuffled among the heads of each image.
    """
    weights = evidence.weights(model)
    claims = []
    for letter, (share, bound) in zip("abc", TOP_SHARES.items()):
        theirs, of = evidence.paper(model).top_share(share)
        claims.append(
            Claim(
                f"C1{letter}",
                model,
                f"top {share * 100:g} %",
                f"The top {share * 100:g} % of the heads hold more than {bound * 100:g} % of the visual score.",
                bound=bound,
                paper=theirs,
                paper_of=of,
                detail="no scores of single probe images",
            )
        )
    if weights is None:
        return claims
    if not weights.any():
        return [replace(claim, detail="no head hit a word on any probe image") for claim in claims]
    # Sums of the hits of each head: as they are, over resampled images, with each image's hits shuffled.
    counts = resample_counts(len(weights), draws=_DRAWS, seed=0)
    resampled = np.concatenate([block @ weights for block in counts])
    sums, shuffles = weights.sum(axis=0), shuffled(weights)
    return [_judged(claim, share, sums, resampled, shuffles) for claim, share in zip(claims, TOP_SHARES)]


def _judged(claim: Claim, share: float, sums: Floats, resampled: Floats, shuffles: Floats) -> Claim:
    count = top_heads(share, len(sums))
    effect = float(held(sums[None], count)[0])
    found = judged(claim, [above("", effect, 2 * effect - held(resampled, count), claim.bound)])
    null = held(shuffles, count)
    chance = (int((null >= effect).sum()) + 1) / (len(null) + 1)
    return replace(
        found,
        p_value=max(found.p_value, chance),
        verdict=FAILS if found.verdict == HOLDS and chance > ALPHA else found.verdict,
        detail=f"{count} of {len(sums)} heads; even {count / len(sums):.3f}, hits shuffled {null.mean():.3f}",
    )


def held(sums: Floats, count: int) -> Floats:
    """Share of each row's sum [R, heads] that its `count` largest values hold; rows without a hit are left out."""
    total = sums.sum(axis=1)
    top = np.partition(sums, sums.shape[1] - count, axis=1)[:, -count:].sum(axis=1)
    shares: Floats = top[total > 0] / total[total > 0]
    return shares


def shuffled(weights: Floats, *, draws: int = SHUFFLES, seed: int = 0) -> Floats:
    """Sums of the hits of each head with those of each image shuffled among the heads, [draws, heads]."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permuted(weights, axis=1).sum(axis=0) for _ in range(draws)])
