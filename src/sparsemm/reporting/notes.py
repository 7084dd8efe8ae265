"""What every table of a run says about it: a trial, image limits, rows left out, scores missing or without meaning.

Read from the metadata of the result files. A whole run whose models are not the paper's needs none of these notes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sparsemm.reporting.paper_values import in_paper
from sparsemm.reporting.summary import Paths, as_paths, in_order
from sparsemm.results.parquet import read_metadata, read_table


def limit_of(paths: Paths) -> int | None:
    """The rows of each benchmark that a trial run was limited to; None for a whole run."""
    found = [read_metadata(path).get("limit") for path in as_paths(paths)]
    return next((int(limit) for limit in found if limit), None)


def trial_note(paths: Paths) -> list[str]:
    """The sentence under what a trial run made; none for a whole run."""
    limit = limit_of(paths)
    return [f"A trial run of the first {limit} rows of each benchmark."] if limit else []


def run_notes(predictions: Paths, *, run_scores: Paths = (), scores: Paths = ()) -> list[str]:
    """The sentences to print under a table or figure.

    Args:
        predictions: files of kind predictions, or of any kind whose path ends in <model>/<...>.
        run_scores: files of kind run_scores: answers that could not be read, scores that could not be computed.
        scores: files of kind scores: models whose scores are uniform because no token matched a word.
    """
    paths = as_paths(predictions)
    found = [(path.parent.parent.name, path.parent.name, read_metadata(path)) for path in paths]
    notes = [*trial_note(predictions), *_settings(found)]
    notes += _unreadable(found)
    for path in as_paths(run_scores):
        notes += _of_a_run(path)
    return [*notes, *_uniform(scores)]


def why_uniform(scores: Path) -> str:
    """Why all heads of a file of kind scores have the same score; empty where they do not."""
    said = str(read_metadata(scores).get("no_match") or "")
    if not said:
        return ""
    values = read_table(scores, "scores", ["score"])["score"]
    return said.removeprefix("uniform: ") if values.max() - values.min() < 1e-12 else ""


def _uniform(scores: Paths) -> list[str]:
    """A sentence for each model whose visual scores are equal because nothing that it read matched a word."""
    reasons = {path.stem: why_uniform(path) for path in as_paths(scores)}
    return [
        f"{model}: on the probe images {reason}, so its visual scores are the same for every head and SparseMM shares "
        "the budget evenly."
        for model, reason in reasons.items()
        if reason
    ]


def _settings(found: list[tuple[str, str, dict[str, Any]]]) -> list[str]:
    """Rules, image limits and generation settings of the paper's models, and limits that differ from the paper's."""
    notes = []
    rules = in_order(str(data["rules"]) for model, _, data in found if in_paper(model) and "rules" in data)
    if rules:
        notes.append(f"Rule set: {', '.join(rules)}.")
    for model in in_order(model for model, _, _ in found):
        own = [data for name, _, data in found if name == model]
        if in_paper(model):
            limits = in_order(shown(data["image_limits"]) for data in own if data.get("image_limits"))
            dtypes = in_order(str(data["dtype"]) for data in own if data.get("dtype"))
            in_force = in_order(shown(data["generation"]) for data in own if data.get("generation"))
            words = [f"image limits {'; '.join(limits)}"] if limits else []
            words += [f"weights {', '.join(dtypes)}"] if dtypes else []
            words += [f"generation settings {'; '.join(in_force)}"] if in_force else []
            notes += [f"{model}: {'; '.join(words)}."] if words else []
        for note in in_order(str(data["limits_note"]) for data in own if data.get("limits_note")):
            notes.append(f"{model}: {note.rstrip('.')}.")
    return notes


def shown(value: Any) -> str:
    """A setting from metadata as text: "min_pixels 3136, size (shortest_edge 3136)"."""
    if isinstance(value, dict):
        parts = []
        for key, entry in value.items():
            text = shown(entry)
            parts.append(f"{key} ({text})" if isinstance(entry, dict) else f"{key} {text}")
        return ", ".join(parts)
    if isinstance(value, list):
        return " ".join(str(entry).replace(" ", "") for entry in value)
    return str(value)


def _unreadable(found: Iterable[tuple[str, str, dict[str, Any]]]) -> list[str]:
    """A sentence for each model and benchmark with rows whose image could not be decoded."""
    counts: dict[tuple[str, str], int] = {}
    for model, benchmark, data in found:
        counts[model, benchmark] = counts.get((model, benchmark), 0) + len(data.get("unreadable") or [])
    return [
        f"{model} on {benchmark}: {count} {'row is' if count == 1 else 'rows are'} left out because the image cannot "
        "be decoded."
        for (model, benchmark), count in counts.items()
        if count
    ]


def _of_a_run(path: Path) -> list[str]:
    """Sentences on one run_scores file."""
    where = f"{path.parent.name} on {path.stem}"
    frame = read_table(path, "run_scores", ["unit", "score", "unread"])
    notes = []
    if len(frame) and frame["score"].isna().all():
        reason = read_metadata(path).get("no_score") or (
            "its metric needs Java and the package pycocoevalcap; with both, make the run_scores file again"
        )
        notes.append(f"{where}: no score: {str(reason).rstrip('.')}.")
    if frame.empty:
        notes.append(f"{where}: no score: none of its rows makes a whole unit of its metric.")
    if unread := int(frame["unread"].sum()):
        notes.append(
            f"{where}: {unread} answers over all cells could not be read as an option's letter and count as wrong."
        )
    return notes
