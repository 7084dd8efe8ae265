"""From the cells of a GPU profile to result files, tables, a figure and the list of what was promised and reached.

python benchmarks/gpu_report.py docs/performance results/paper    # result files as the workflow makes them
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from sparsemm.reporting import figures, tables
from sparsemm.results.parquet import write_table
from sparsemm.results.schemas import SCHEMAS

_VICUNA = "llava-next-vicuna-7b"
_CELL = ["model", "policy", "input_tokens", "batch"]


def read_cells(folder: Path) -> list[dict[str, Any]]:
    """The rows measured so far, none where nothing was; a last line cut off by a kill is left out."""
    file = folder / "cells.jsonl"
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def write_results(folder: Path, run: Path) -> tuple[list[Path], list[Path]]:
    """Write efficiency/ and profile/ under `run` from `folder`'s cells, as `rule efficiency` does; return their paths.

    So that the workflow's own figure 6 and tables are drawn from a profile of random weights, which the files name.
    """
    about = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    cells = pd.DataFrame(read_cells(folder))
    written: tuple[list[Path], list[Path]] = ([], [])
    for (model, policy, tokens), group in cells.groupby(["model", "policy", "input_tokens"], sort=False):
        repeats = [row for cell in group[group.batch == "1"].repeats for row in cell]
        frames = (
            pd.DataFrame(repeats, columns=SCHEMAS["efficiency"].names),
            group.reindex(columns=SCHEMAS["profile"].names),
        )
        for kind, frame, paths in zip(("efficiency", "profile"), frames, written):
            paths.append(run / kind / str(model) / f"{policy}-{tokens}.parquet")
            write_table(paths[-1], frame, kind, {"model": model, **about})
    return written


def write_report(folder: Path) -> None:
    """Write profile.csv and .md, profile.png, kernels.csv and promises.csv from `folder`'s cells."""
    cells = read_cells(folder)
    if not cells:
        raise SystemExit(f"{folder}: no cell was measured; give more --minutes")
    kernels = [{key: cell[key] for key in _CELL} | row for cell in cells for row in cell.get("kernels", [])]
    if kernels:
        pd.DataFrame(kernels).sort_values([*_CELL, "kernel"]).to_csv(folder / "kernels.csv", index=False)
    promises = pd.DataFrame(check_promises(pd.DataFrame(cells), pd.DataFrame(kernels)))
    promises.to_csv(folder / "promises.csv", index=False)
    print(promises.to_string(index=False))
    with tempfile.TemporaryDirectory() as temporary:
        efficiency, profile = write_results(folder, Path(temporary))
        drawn = Path(temporary) / "profile"
        tables.table_profile(profile, drawn)
        if any(cell["repeats"] for cell in cells if cell["batch"] == "1"):
            figures.figure6(efficiency, drawn)
        for path in Path(temporary).glob("profile.*"):
            if path.suffix in (".csv", ".md", ".png"):
                (folder / path.name).write_bytes(path.read_bytes())


def check_promises(frame: pd.DataFrame, kernels: pd.DataFrame) -> list[dict[str, Any]]:
    """What issue 4 asks for on an H200: one row a promise, `reached` empty where a cell is missing."""
    ours, full = "sparsemm", "fullkv"
    long, short = int(frame.input_tokens.max()), int(frame.input_tokens.min())

    def value(policy: str, tokens: int, column: str) -> float:
        rows = frame[(frame.model == _VICUNA) & (frame.policy == policy) & (frame.input_tokens == tokens)]
        rows = rows[(rows.batch == "1") & (rows.status == "ok")]
        return float(rows[column].iloc[0]) if len(rows) and column in rows else float("nan")

    def ratio(one: tuple[str, int, str], other: tuple[str, int, str]) -> float:
        return value(*one) / value(*other)

    step, peak = "decode_ms_per_token", "peak_bytes"

    def kernel(policy: str) -> float:
        if not len(kernels) or "gb_s" not in kernels:
            return float("nan")
        rows = kernels[(kernels.kernel == "ours") & (kernels.batch == "8") & (kernels.model == _VICUNA)]
        return float(rows[rows.policy == policy].gb_s.max()) / value(ours, long, "copy_gb_s")

    at = f"at {long}"
    found = [
        (f"SparseMM decode / floor {at}", value(ours, long, "times_floor"), "<=", 1.3),
        (f"FullKV / SparseMM decode {at}", ratio((full, long, step), (ours, long, step)), ">=", 2.0),
        (f"SparseMM / FullKV peak allocated {at}", ratio((ours, long, peak), (full, long, peak)), "<=", 0.50),
        (f"SparseMM decode {at} / at {short}", ratio((ours, long, step), (ours, short, step)), "<=", 1.05),
        ("kernel alone / copy bandwidth, batch 8, SparseMM", kernel(ours), ">=", 0.8),
        ("kernel alone / copy bandwidth, batch 8, FullKV", kernel(full), ">=", 0.8),
        (
            f"selection / prefill {at}",
            ratio((ours, long, "selection_s"), (ours, long, "prefill_s")),
            "<=",
            0.03,
        ),
    ]
    rows = []
    for what, reached, sense, wanted in found:
        held = "" if reached != reached else str(reached <= wanted if sense == "<=" else reached >= wanted)
        rows.append({"what": what, "reached": reached, "wanted": f"{sense} {wanted}", "held": held})
    return rows


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("give the folder of a profile and the results folder of a run")
    write_results(Path(sys.argv[1]), Path(sys.argv[2]))
