"""The compression policies, one file each, and the registry that makes a policy from its label."""

from __future__ import annotations

from sparsemm.policies.adakv import AdaKV
from sparsemm.policies.base import Policy, past_tokens
from sparsemm.policies.fullkv import FullKV
from sparsemm.policies.local_window import LocalWindow
from sparsemm.policies.pyramidkv import PyramidKV
from sparsemm.policies.random_heads import RandomHeads
from sparsemm.policies.registry import POLICY_NAMES, make_policy, parse_label
from sparsemm.policies.snapkv import SnapKV
from sparsemm.policies.sparsemm import SparseMM

__all__ = [
    "POLICY_NAMES",
    "AdaKV",
    "FullKV",
    "LocalWindow",
    "Policy",
    "PyramidKV",
    "RandomHeads",
    "SnapKV",
    "SparseMM",
    "make_policy",
    "parse_label",
    "past_tokens",
]
