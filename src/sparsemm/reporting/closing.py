"""What a finished run says in its last lines: quality, speed, memory, and the page to open. Reads tables alone."""

from __future__ import annotations

import csv
from pathlib import Path

USEFUL = 0.9  # share of the full cache's score from which on a budget is called useful


def closing_lines(run: str | Path) -> list[str]:
    """The last lines of a run; of a table that is not there or was not run, nothing.

    Args:
        run: folder of the run, whose tables are in `paper/`.

    Raises:
        OSError, KeyError, ValueError: for tables of another form; the caller decides what that is worth.
    """
    paper = Path(run) / "paper"
    page = paper / "report.html"
    lines = [*_quality(paper / "findings.csv"), *_saved(paper / "table_profile.csv")]
    return [*lines, f"  open    {page}"] if page.is_file() else []


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if "status" not in row or row["status"] == "ok"]


def _quality(path: Path) -> list[str]:
    """SparseMM against the best other method, where it first has a useful share of the full cache's score."""
    first: dict[tuple[str, str], dict[str, str]] = {}
    for row in _rows(path):
        full, score = float(row["fullkv_score"]), float(row["sparsemm_score"])
        if full > 0 and score >= USEFUL * full:
            found = first.get((row["model"], row["benchmark"]))
            if found is None or int(row["budget"]) < int(found["budget"]):
                first[row["model"], row["benchmark"]] = row
    several = len({model for model, _ in first}) > 1
    lines = []
    for (model, benchmark), row in first.items():
        where = f"{model}, {benchmark}" if several else benchmark
        ends = f"[{float(row['ci_low']):+.3f}, {float(row['ci_high']):+.3f}]"
        lines.append(
            f"  score   {where}: SparseMM has {_share(row)} of FullKV's with {row['budget']} tokens a head, "
            f"{float(row['difference']):+.3f} {ends} against {row['best_other']}"
        )
    return lines


def _share(row: dict[str, str]) -> str:
    return f"{float(row['sparsemm_score']) / float(row['fullkv_score']):.0%}"


def _saved(path: Path) -> list[str]:
    """Decode latency and memory at the longest prompt, one row at a time, against the full cache."""
    lines = []
    rows = [row for row in _rows(path) if row["batch"] == "1"]
    models = list(dict.fromkeys(row["model"] for row in rows))
    for model in models:
        own = [row for row in rows if row["model"] == model]
        longest = max(int(row["input_tokens"]) for row in own)
        at = {row["policy"]: row for row in own if int(row["input_tokens"]) == longest}
        if not {"fullkv", "sparsemm"} <= at.keys():
            continue
        where = f"{model}, {longest} tokens" if len(models) > 1 else f"{longest} tokens"
        ms, full = (float(at[policy]["decode_ms_per_token"]) for policy in ("sparsemm", "fullkv"))
        kept, whole = (float(at[policy]["cache_bytes"]) / 2**20 for policy in ("sparsemm", "fullkv"))
        lines.append(
            f"  decode  {where}: {ms:.2f} ms a token, {full:.2f} ms with the full cache ({full / ms:.1f} times)"
        )
        lines.append(f"  memory  {where}: {kept:.1f} MiB of K and V, {whole:.1f} MiB in the full cache")
    return lines
