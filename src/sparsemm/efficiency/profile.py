"""A cell of the efficiency profile: one model, policy, prompt length and batch, as rows of result files.

What a workflow script calls, in a process of its own::

    policy = make_policy(label, budget=256, window=32, kernel=5, scores=head_scores, num_kv_heads=12)
    cell = profile_cell(loaded, policy, tokens=32768, label=label, new_tokens=100, repeats=3, warmup=1, seed=0)
    write_table(path, cell.repeats, "efficiency", metadata)
    write_table(other, cell.summary, "profile", metadata)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
import torch

from sparsemm.efficiency.measurement import Measured, measure
from sparsemm.efficiency.prompt import build_prompt, one_page
from sparsemm.errors import InputError
from sparsemm.models.loading import Loaded
from sparsemm.policies import Policy
from sparsemm.results.schemas import SCHEMAS

LARGEST = "largest"


class Profile(NamedTuple):
    """One cell: a row a repeat (kind `efficiency`; none where memory ran out) and one row of kind `profile`."""

    repeats: pd.DataFrame
    summary: pd.DataFrame


def profile_cell(
    loaded: Loaded,
    policy: Policy,
    tokens: int,
    *,
    batch: int | str = 1,
    label: str | None = None,
    new_tokens: int = 100,
    repeats: int = 3,
    warmup: int = 1,
    seed: int = 0,
) -> Profile:
    """Measure a prompt of exactly `tokens` tokens, mostly document images; see `measure` for what is timed.

    batch: rows that decode; "largest": as many as fit. Memory of the device that runs out is a result: the summary's
    `status` says so and its measured columns are empty. Budget 0 is the full cache.

    Raises:
        InputError: for a prompt shorter than one image takes, or counts that are not positive.
    """
    where = {"policy": label or policy.name, "budget": policy.budget or 0, "input_tokens": tokens}
    model = loaded.model
    about = {"batch": str(batch), "dtype": str(model.dtype).removeprefix("torch."), "weights": "checkpoint"}
    about["device"] = device_name(model.device)
    try:
        measured = measure(
            model,
            build_prompt(loaded, tokens, seed),
            policy,
            batch=_rows(batch),
            new_tokens=new_tokens,
            repeats=repeats,
            warmup=warmup,
            warm_inputs=one_page(loaded, seed),
        )
    except torch.OutOfMemoryError:
        return as_profile("out of memory", where, about)
    return as_profile(measured, where, about)


def as_profile(measured: Measured | str, where: Mapping[str, Any], about: Mapping[str, Any]) -> Profile:
    """The rows of one cell; in place of a measurement, the reason why there is none.

    where: policy, budget, input_tokens. about: batch, dtype, weights, device.
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


def _rows(batch: int | str) -> int | None:
    if isinstance(batch, int):
        return batch
    if batch != LARGEST:
        raise InputError(f"efficiency.batches: {batch!r} is no batch; give numbers of rows or {LARGEST}")
    return None


def device_name(device: torch.device) -> str:
    """The GPU's own name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
