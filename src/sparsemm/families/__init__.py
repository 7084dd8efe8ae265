"""Model families: what differs between them, one file each."""

from __future__ import annotations

from sparsemm.families.base import Family
from sparsemm.families.llava_next import LlavaNext

# Every family the project knows; a new one is a new file and one entry here.
FAMILIES: tuple[Family, ...] = (LlavaNext(),)

__all__ = ["FAMILIES", "Family"]
