"""The KV-cache budget: its three parts, their split over heads, and an audit of what is really kept. No torch."""

from __future__ import annotations

from sparsemm.budget.allocation import allocate, allocate_array
from sparsemm.budget.audit import audit

__all__ = ["allocate", "allocate_array", "audit"]
