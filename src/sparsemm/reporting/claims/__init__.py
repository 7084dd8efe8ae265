"""The paper's claims as checks that can fail: pure functions of result files, one file a claim or a pair of them.

To add one: a function of the evidence and a model that returns rows, a line in CLAIMS, its bounds in thresholds.py.
"""

from __future__ import annotations

from collections.abc import Callable

from sparsemm.reporting.claims.ablations import parts, rho
from sparsemm.reporting.claims.base import FAILS, HOLDS, NOT_RUN, UNDECIDED, VERDICTS, Claim
from sparsemm.reporting.claims.comparison import at_or_above, random_close
from sparsemm.reporting.claims.evidence import Evidence
from sparsemm.reporting.claims.latency import latency
from sparsemm.reporting.claims.masking import masking
from sparsemm.reporting.claims.probes import probe_sets
from sparsemm.reporting.claims.quality import quality
from sparsemm.reporting.claims.sparsity import sparsity

# Number of the claim -> the function that judges it, in the order of table and figure.
CLAIMS: dict[str, Callable[[Evidence, str], list[Claim]]] = {
    "C1": sparsity,
    "C2": masking,
    "C3": at_or_above,
    "C4": random_close,
    "C5": rho,
    "C6": parts,
    "C7": probe_sets,
    "C8": latency,
    "C9": quality,
}
# In a few words, for figures.
TITLES = {
    "C1": "few heads hold the score",
    "C2": "masked heads",
    "C3": "SparseMM minus the others",
    "C4": "Random minus SnapKV (MHA)",
    "C5": "rho 0.1 minus 0 and 1",
    "C6": "gain from each part of the budget",
    "C7": "other probe sets",
    "C8": "growth of the decode latency",
    "C9": "share of FullKV's quality",
}
__all__ = [
    "CLAIMS",
    "FAILS",
    "HOLDS",
    "NOT_RUN",
    "TITLES",
    "UNDECIDED",
    "VERDICTS",
    "Claim",
    "Evidence",
    "judge",
]


def judge(evidence: Evidence) -> list[Claim]:
    """Every claim on every model of a run, claim by claim; a row's (id, model, where) is its key."""
    return [row for check in CLAIMS.values() for model in evidence.models for row in check(evidence, model)]
