"""How many tokens of every draft a forward pass verifies: as many as pay. No torch.

A draft token that is accepted saves its row a pass; one that is rejected was fed in vain. What a token costs depends on
the device: little where a pass is bound by the weights' bytes (a GPU with few rows), as much as a row's share of a pass
where it is bound by arithmetic (a CPU). How often drafts are accepted is counted while decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sparsemm.evaluation.engine.drafts import REACH, Draft

MOST = 16  # tokens of a draft
_PRIOR, _TRIALS = 0.8, 8.0  # share of draft tokens taken for accepted before any was verified, and its weight


@dataclass(frozen=True)
class PassCost:
    """What a forward pass costs, in units of a row that feeds one token.

    Attributes:
        fixed: of a pass, whatever it feeds.
        more: of each further token of a row.
        free: tokens up to which a pass costs the same as with one.
        lead: decode the full cache's rows first, so that their answers draft the others from the start. It costs the
            fixed part of their passes, which rows that are decoded together share.
    """

    fixed: float
    more: float
    free: int = 0
    lead: bool = False


class DraftLengths:
    """Chooses the lengths of drafts; the same verified drafts give the same choices.

    Args:
        cost: of passes.
        most: tokens of a draft at most.
    """

    def __init__(self, cost: PassCost, most: int = MOST) -> None:
        self.cost, self.most = cost, most
        self._accepted = [_PRIOR * _TRIALS] * (REACH + 1)
        self._tried = [_TRIALS] * (REACH + 1)

    def learn(self, draft: Draft, verified: int, accepted: int) -> None:
        """Count how many of a draft's first `verified` tokens were accepted."""
        self._accepted[draft.agreeing] += accepted
        self._tried[draft.agreeing] += min(accepted + 1, verified)

    def choose(self, drafts: Sequence[Draft]) -> list[int]:
        """How many tokens of each row's draft the next pass verifies.

        The j-th token of a draft is accepted with a chance of p ** j, p by how many tokens before it agree. Tokens are
        taken by that chance, largest first, while they are free or save more than they cost.
        """
        offered = [[0] * (self.most + 1) for _ in range(REACH + 1)]  # drafts with a j-th token
        for draft in drafts:
            for place in range(1, min(len(draft.tokens), self.most) + 1):
                offered[draft.agreeing][place] += 1
        candidates = sorted(
            ((self._accepted[k] / self._tried[k]) ** place, k, place, count)
            for k, counts in enumerate(offered)
            for place, count in enumerate(counts)
            if count
        )
        saved = 1 + self.cost.fixed / max(len(drafts), 1)  # a pass less of one row
        taken = [0] * (REACH + 1)
        fed = len(drafts)
        for chance, k, place, count in reversed(candidates):
            if fed + count > self.cost.free and chance * saved < self.cost.more:
                break
            taken[k] = place
            fed += count
        return [min(len(draft.tokens), taken[draft.agreeing]) for draft in drafts]
