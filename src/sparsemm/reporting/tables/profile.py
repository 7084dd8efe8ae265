"""The efficiency profile as a table: time to first token, decode, throughput, memory, distance to the floor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sparsemm.methods import label_of, method_order
from sparsemm.reporting.notes import trial_note
from sparsemm.reporting.summary import Paths, in_order, read_profile
from sparsemm.reporting.tables.writing import MISSING, Row, write

_GIB, _MIB = 1024.0**3, 1024.0**2
_HEAD = [
    "first token (s)",
    "decode (ms/token)",
    "tokens/s",
    "peak (GiB)",
    "KV cache (MiB)",
    "GB/s",
    "x floor",
]


def table_profile(profile: Paths, stem: str | Path) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: one row per model, method, prompt length and batch.

    A cell that ran out of memory has a row that says so, without numbers.

    Args:
        profile: files of kind profile.
        stem: path of the table without its suffix.

    Raises:
        InputError: for a file that cannot be read.
    """
    frame = read_profile(profile)
    models, methods = in_order(frame["model"]), method_order(frame["policy"])
    numbers = frame.assign(
        model=pd.Categorical(frame["model"], models),
        policy=pd.Categorical(frame["policy"], methods),
        asked=[float("inf") if batch == "largest" else int(batch) for batch in frame["batch"]],
    ).sort_values(["model", "asked", "input_tokens", "policy"])
    rows: list[Row] = [_row(row) for row in numbers.to_dict("records")]
    numbers = numbers.drop(columns="asked").astype({"model": str, "policy": str})
    columns = ["model", *(name for name in numbers.columns if name != "model")]
    budgets = ", ".join(str(budget) for budget in sorted(set(frame["budget"]) - {0})) or "none"
    weights = "; random weights" if (frame["weights"] == "random").any() else ""
    notes = [
        f"Budget {budgets} tokens per KV head on {', '.join(in_order(frame['device']))}{weights}.",
        "Decode: median of the repeats. First token: of one prompt, its inputs on the host, image processing not "
        "counted. All rows of a batch hold the same prompt.",
        "GB/s: weights, kept K and V that a step must read over its time; x floor: the bandwidth of a copy on this "
        "device over it (below 1 where its caches hold what is read).",
        *trial_note(profile),
    ]
    write(stem, numbers[columns], ["model", "method", "input tokens", "batch", *_HEAD], rows, notes, labels=2)


def _row(row: dict[str, Any]) -> list[str]:
    name, tokens, batch = label_of(row["policy"]), str(row["input_tokens"]), row["batch"]
    if row["status"] != "ok":
        return [row["model"], name, tokens, batch, MISSING, row["status"], *[MISSING] * (len(_HEAD) - 2)]
    batch = f"{int(row['rows'])} ({batch})" if batch == "largest" else batch
    shown = [
        f"{row['first_token_s']:.3f}",
        f"{row['decode_ms_per_token']:.2f}",
        f"{row['tokens_per_s']:.0f}",
        f"{row['peak_bytes'] / _GIB:.2f}",
        f"{row['cache_bytes'] / _MIB:.1f}",
        f"{row['achieved_gb_s']:.1f}",
        f"{row['times_floor']:.2f}",
    ]
    return [row["model"], name, tokens, batch, *shown]
