"""The KV-cache budget: its split over KV heads, and an audit of the tokens kept against the tokens asked for."""

from __future__ import annotations

from sparsemm.budget.allocation import allocate, allocate_array
from sparsemm.budget.audit import audit

__all__ = ["allocate", "allocate_array", "audit"]
