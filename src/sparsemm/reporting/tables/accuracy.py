"""Tables 1 (input tokens), 2 (scores at one budget, decode latency) and 5 (scores at every budget)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sparsemm.errors import InputError
from sparsemm.methods import label_of, method_order
from sparsemm.reporting.summary import (
    Paths,
    in_order,
    main_cells,
    panels,
    part,
    read_efficiency,
    read_predictions,
    summarise,
)
from sparsemm.reporting.tables.writing import MISSING, Cell, Row, best_of, with_interval, write


def table1(predictions: Paths, stem: str | Path) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: mean input tokens (image and text) per model and benchmark.

    The csv has the number of samples and the mean, least and most input tokens.

    Args:
        predictions: files of kind predictions.
        stem: path of the table without its suffix.

    Raises:
        InputError: for a file that cannot be read.
    """
    frame = read_predictions(predictions).drop_duplicates(["model", "benchmark", "sample_id"])
    records = []
    for model, benchmark in panels(frame):
        tokens = part(frame, model, benchmark)["prompt_tokens"]
        records.append((model, benchmark, len(tokens), tokens.mean(), tokens.min(), tokens.max()))
    columns = ["model", "benchmark", "samples", "mean_input_tokens", "min_input_tokens", "max_input_tokens"]
    numbers = pd.DataFrame(records, columns=columns)
    benchmarks = in_order(numbers["benchmark"])
    means = numbers.set_index(["model", "benchmark"])["mean_input_tokens"]
    rows: list[Row] = []
    for model in in_order(numbers["model"]):
        found = [means.get((model, name)) for name in benchmarks]
        rows.append([model, *(MISSING if value is None else f"{value:.0f}" for value in found)])
    notes = ["Mean tokens of a prompt, image tokens included."]
    write(stem, numbers, ["model", *benchmarks], rows, notes)


def table2(
    predictions: Paths,
    efficiency: Paths,
    stem: str | Path,
    *,
    budget: int | None = None,
    tokens: int | None = None,
) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: score per benchmark at one budget, and decode latency, per method.

    The latency is the median over repeats. It is measured at other prompt lengths than the benchmarks' and so has a
    budget of its own, which the notes name.

    Args:
        predictions: files of kind predictions.
        efficiency: files of kind efficiency.
        stem: path of the table without its suffix.
        budget: of the scores; None for the middle one (the lower of two) of the first benchmark.
        tokens: input length of the latency; None for the longest measured.

    Raises:
        InputError: for a file that cannot be read, and for a budget or length that is in none.
    """
    cells = main_cells(summarise(read_predictions(predictions)))
    budget = _middle_budget(cells) if budget is None else budget
    cells = cells[(cells["budget"] == budget) | (cells["policy"] == "fullkv")]
    if not (cells["budget"] > 0).any():
        raise InputError(f"table 2: budget {budget} is in no predictions; choose one that was evaluated")
    times = read_efficiency(efficiency)
    tokens = int(times["input_tokens"].max()) if tokens is None else tokens
    times = times[times["input_tokens"] == tokens]
    if times.empty:
        raise InputError(
            f"table 2: {tokens} input tokens are in no efficiency file; choose a measured length"
        )
    latency = times.groupby(["model", "policy"])["decode_ms_per_token"].median()
    benchmarks = in_order(cells["benchmark"])
    records, rows = [], list[Row]()
    for model in in_order(cells["model"]):
        own = cells[cells["model"] == model]
        for policy in method_order(own["policy"]):
            found = own[own["policy"] == policy].set_index("benchmark")
            time = latency.get((model, policy))
            row: list[str | Cell] = [model, label_of(policy)]
            for name in benchmarks:
                if name not in found.index:
                    row.append(MISSING)
                    continue
                at = found.loc[name]
                others = own[(own["benchmark"] == name) & (own["policy"] != "fullkv")]["score"]
                best = policy != "fullkv" and round(at["score"], 3) == round(others.max(), 3)
                row.append(Cell(f"{at['score']:.3f}", best))
                numbers_of = [at[key] for key in ("score", "ci_low", "ci_high")]
                records.append((model, policy, at["budget"], name, at["metric"], *numbers_of, time))
            rows.append([*row, MISSING if time is None else f"{time:.2f}"])
    columns = ["model", "policy", "budget", "benchmark", "metric", "score", "ci_low", "ci_high"]
    numbers = pd.DataFrame(records, columns=[*columns, "decode_ms_per_token"])
    numbers["latency_input_tokens"] = tokens
    asked = ", ".join(str(value) for value in sorted(set(times["budget"]) - {0})) or "none"
    device = ", ".join(in_order(times["device"]))
    notes = [
        f"Scores at a budget of {budget} tokens per KV head; bold: the best compressed method.",
        f"Decode: median ms per token at {tokens} input tokens and a budget of {asked} on {device}.",
    ]
    write(stem, numbers, ["model", "method", *benchmarks, "decode (ms/token)"], rows, notes, labels=2)


def table5(predictions: Paths, stem: str | Path) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: score of every method at every budget on every benchmark.

    Scores have 95 % bootstrap intervals over samples; the best method of a benchmark and budget is bold. The csv has
    one row per cell, with the tokens and bytes that the cache held.

    Args:
        predictions: files of kind predictions.
        stem: path of the table without its suffix.

    Raises:
        InputError: for a file that cannot be read.
    """
    cells = main_cells(summarise(read_predictions(predictions)))
    budgets = sorted(set(cells["budget"]) - {0})
    rows: list[Row] = []
    for model, benchmark in panels(cells):
        own = part(cells, model, benchmark)
        scores = own.set_index(["policy", "budget"])
        methods = [label for label in method_order(own["policy"]) if label != "fullkv"]
        best = {
            budget: dict(zip(methods, best_of([scores["score"].get((m, budget)) for m in methods])))
            for budget in budgets
        }
        where = [model, f"{benchmark} ({own['metric'].iloc[0]})"]
        if ("fullkv", 0) in scores.index:
            full = _interval(scores, "fullkv", 0, False)
            rows.append([*where, label_of("fullkv"), *[full] * len(budgets)])
        for label in methods:
            shown = [_interval(scores, label, budget, best[budget][label]) for budget in budgets]
            rows.append([*where, label_of(label), *shown])
    notes = [
        "Mean score with its 95 % bootstrap interval over samples; bold: the best compressed method at that "
        "budget (tokens per KV head). FullKV keeps every token and is the same at every budget."
    ]
    write(stem, cells, ["model", "benchmark", "method", *map(str, budgets)], rows, notes, labels=3)


def _interval(scores: pd.DataFrame, label: str, budget: int, best: bool) -> Cell:
    if (label, budget) not in scores.index:
        return Cell(MISSING)
    at = scores.loc[(label, budget)]
    return Cell(with_interval(at["score"], at["ci_low"], at["ci_high"]), best)


def _middle_budget(cells: pd.DataFrame) -> int:
    first = cells[cells["benchmark"] == cells["benchmark"].iloc[0]]
    budgets = sorted(set(first["budget"]) - {0})
    if not budgets:
        raise InputError("table 2: no cell of these predictions has a budget; evaluate some methods")
    return int(budgets[(len(budgets) - 1) // 2])
