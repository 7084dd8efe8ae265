"""Speed and memory of a policy at one prompt length and batch: a prompt, its prefill, decode, what was moved."""

from sparsemm.efficiency.measurement import Measured, measure
from sparsemm.efficiency.profile import Profile, profile_cell
from sparsemm.efficiency.prompt import build_prompt
from sparsemm.generation.prefill import prefill

__all__ = ["Measured", "Profile", "build_prompt", "measure", "prefill", "profile_cell"]
