"""Speed and memory of a policy at one prompt length and batch: prefill and decode latency, peak memory."""

from sparsemm.efficiency.measurement import Measured, MeasureSettings, measure
from sparsemm.efficiency.profile import Profile, profile_cell
from sparsemm.efficiency.prompt import build_prompt

__all__ = ["MeasureSettings", "Measured", "Profile", "build_prompt", "measure", "profile_cell"]
