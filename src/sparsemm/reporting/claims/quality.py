"""C9: SparseMM keeps the full cache's quality with 5 to 10 % of it."""

from __future__ import annotations

import math
from dataclasses import replace

from sparsemm.reporting.claims.base import Claim, above, judged
from sparsemm.reporting.claims.evidence import Cells, Evidence
from sparsemm.reporting.claims.thresholds import CACHE_SHARES, KEPT_QUALITY, NEAR
from sparsemm.stats import ratios

_FULL = ("fullkv", 0)


def quality(evidence: Evidence, model: str) -> list[Claim]:
    """C9a (10 % of the cache) and C9b (5 %), a row for each benchmark: SparseMM's score as a share of FullKV's.

    The budget is the one whose tokens kept over those of the prompt are nearest; a cell further off than a factor of
    1.5 is not taken. The interval is of the ratio of means, resampled together.
    """
    claims = []
    for letter, share in zip("ab", CACHE_SHARES):
        claim = Claim(
            f"C9{letter}",
            model,
            "",
            f"With {share * 100:g} % of the cache SparseMM keeps more than {KEPT_QUALITY * 100:g} % of the quality.",
            bound=KEPT_QUALITY,
        )
        rows = [_of_benchmark(claim, cells, share, evidence) for cells in evidence.all_cells(model)]
        if not rows:
            rows = [replace(_beside(claim, evidence, share, ""), detail="no benchmark was run")]
        claims += rows
    return claims


def _beside(claim: Claim, evidence: Evidence, share: float, benchmark: str) -> Claim:
    theirs, of = evidence.paper(claim.model).quality(share, benchmark)
    return replace(claim, where=benchmark, paper=theirs, paper_of=of)


def _of_benchmark(claim: Claim, cells: Cells, share: float, evidence: Evidence) -> Claim:
    here = _beside(claim, evidence, share, cells.benchmark)
    kept = {b: cells.kept["sparsemm", b] / cells.prompt_tokens for b in cells.budgets("sparsemm")}
    budget = min(kept, key=lambda b: abs(math.log(kept[b] / share)), default=None)
    if budget is None or not 1 / NEAR <= kept[budget] / share <= NEAR:
        return replace(here, detail=f"no budget keeps about {share * 100:g} % of the cache")
    full = cells.point(_FULL) if _FULL in cells else 0.0
    if full <= 0.0:
        return replace(here, detail="FullKV has no score, or 0")
    effect = cells.point(("sparsemm", budget)) / full
    draws = ratios(cells.draws(("sparsemm", budget)) + cells.spread, cells.draws(_FULL))
    name = f"budget {budget}: {kept[budget] * 100:.1f} % of the tokens kept, FullKV {full:.3f}"
    return judged(here, [above(name, effect, draws, KEPT_QUALITY)])
