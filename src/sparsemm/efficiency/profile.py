"""A cell of the efficiency profile: one model, policy, prompt length and batch, as rows of result files.

Usage, as in workflow/scripts/profile_length.py, in a process of its own::

    policy = make_policy(label, budget=256, window=32, kernel=5, scores=head_scores, num_kv_heads=12)
    settings = MeasureSettings(batch=1, new_tokens=100, repeats=3, warmup=1)
    cell = profile_cell(loaded, policy, 32768, settings, label=label, seed=0)
    write_table(path, cell.repeats, "efficiency", metadata)
    write_table(other, cell.summary, "profile", metadata)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
import torch

from sparsemm.efficiency.measurement import Measured, MeasureSettings, measure
from sparsemm.efficiency.prompt import build_prompt, one_page
from sparsemm.models.loading import Loaded
from sparsemm.policies import Policy
from sparsemm.results.schemas import SCHEMAS


class Profile(NamedTuple):
    """The rows of one cell: `repeats` of kind `efficiency` (none when memory ran out), `summary` of kind `profile`."""

    repeats: pd.DataFrame
    summary: pd.DataFrame


def profile_cell(
    loaded: Loaded,
    policy: Policy,
    tokens: int,
    settings: MeasureSettings | None = None,
    *,
    label: str | None = None,
    seed: int = 0,
) -> Profile:
    """Measure a prompt of generated document pages; see `measure` for what is timed.

    Running out of device memory is a result: the summary's `status` says so and its measured columns are empty.

    Args:
        loaded: the model and its processor.
        policy: what is kept.
        tokens: exact length of the prompt.
        settings: counts, batch and storage; default: `MeasureSettings()`.
        label: the method's name in the rows; default: the policy's.
        seed: of the pages.

    Raises:
        InputError: for a prompt shorter than one image takes.
    """
    settings = settings or MeasureSettings()
    where = {"policy": label or policy.name, "budget": policy.budget or 0, "input_tokens": tokens}
    model = loaded.model
    about = {
        "batch": str(settings.batch),
        "dtype": str(model.dtype).removeprefix("torch."),
        "weights": "checkpoint",
    }
    about["device"] = device_name(model.device)
    try:
        measured = measure(
            model,
            build_prompt(loaded, tokens, seed),
            policy,
            settings,
            warm_inputs=one_page(loaded, seed),
        )
    except torch.OutOfMemoryError:
        return as_profile("out of memory", where, about)
    return as_profile(measured, where, about)


def as_profile(measured: Measured | str, where: Mapping[str, Any], about: Mapping[str, Any]) -> Profile:
    """The rows of one cell.

    Args:
        measured: the measurement, or the reason why there is none.
        where: the columns policy, budget (0: the full cache) and input_tokens.
        about: the columns batch, dtype, weights and device.
    """
    if isinstance(measured, str):
        rows, found = [], {"status": measured}
    else:
        rows = [_repeat(measured, repeat, where, about) for repeat in range(len(measured.repeats))]
        found = {"status": "ok", **measured.summary}
    return Profile(
        pd.DataFrame(rows, columns=SCHEMAS["efficiency"].names),
        pd.DataFrame([{**where, **about, **found}], columns=SCHEMAS["profile"].names),
    )


def _repeat(
    measured: Measured, repeat: int, where: Mapping[str, Any], about: Mapping[str, Any]
) -> dict[str, Any]:
    prefill_s, decode_s = measured.repeats[repeat]
    return {
        **where,
        "repeat": repeat,
        "prefill_s": prefill_s,
        "decode_ms_per_token": 1000 * decode_s / measured.new_tokens,
        "peak_bytes": measured.peak_bytes,
        "cache_bytes": measured.cache_bytes,
        "device": about["device"],
    }


def device_name(device: torch.device) -> str:
    """The GPU's own name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
