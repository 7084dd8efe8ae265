"""The compression policies, one file each, their rankers, and the registry that makes a policy from its label."""

from __future__ import annotations

from sparsemm.policies.adakv import AdaKV
from sparsemm.policies.base import Policy, past_tokens, ranker_of
from sparsemm.policies.duo_heads import DuoHeads
from sparsemm.policies.fullkv import FullKV
from sparsemm.policies.local_window import LocalWindow
from sparsemm.policies.pyramidkv import PyramidKV
from sparsemm.policies.random_heads import RandomHeads
from sparsemm.policies.registry import POLICY_NAMES, RANKER_NAMES, make_policy, parse_label
from sparsemm.policies.snapkv import SnapKV
from sparsemm.policies.sparsemm import SparseMM
from sparsemm.policies.visual_ada import VisualAda

__all__ = [
    "POLICY_NAMES",
    "RANKER_NAMES",
    "AdaKV",
    "DuoHeads",
    "FullKV",
    "LocalWindow",
    "Policy",
    "PyramidKV",
    "RandomHeads",
    "SnapKV",
    "SparseMM",
    "VisualAda",
    "make_policy",
    "parse_label",
    "past_tokens",
    "ranker_of",
]
