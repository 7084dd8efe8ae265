"""Scores of a benchmark whose metric needs the whole run: groups of rotated questions (MMBench), captions (CIDEr)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sparsemm.benchmarks import Benchmark, Metric, RunMetric, Sample
from sparsemm.benchmarks.metric import Unit
from sparsemm.benchmarks.scoring import rule_set
from sparsemm.errors import InputError
from sparsemm.evaluation.scoring import RULE_SETS, SCORES

_LOG = logging.getLogger(__name__)
_CELL = ["policy", "budget"]


def score_run(
    benchmark: Benchmark, samples: Sequence[Sample], predictions: pd.DataFrame, rules: str = "paper"
) -> pd.DataFrame:
    """Score the predictions of all shards by every rule set.

    Args:
        benchmark: with its rule sets.
        samples: all samples of the run; no image is read.
        predictions: sample_id, policy, budget and prediction, of all shards. Samples without predictions (their image
            could not be decoded) are not scored.
        rules: the chosen rule set, whose score is `score`.

    Returns:
        Columns of results kind ``run_scores``, sorted by its key: a row for each unit of the metric and cell. Scores
        are NaN where the metric cannot be computed here (see `no_score`), which the log says too.

    Raises:
        InputError: for an unknown rule set, or predictions of a sample that is not among the samples.
    """
    rule_set(benchmark, rules)
    if (reason := no_score(benchmark)) is not None:
        _LOG.warning("%s: predictions are kept, scores are not: %s", benchmark.name, reason)
    order = {sample.id: number for number, sample in enumerate(samples)}
    strange = set(predictions["sample_id"]) - set(order)
    if strange:
        raise InputError(
            f"benchmarks.{benchmark.name}: predictions of {min(strange)}, which is no sample of this run; "
            "make the predictions again"
        )
    parts = [
        _cell(
            benchmark, samples, sorted(zip(part["sample_id"].map(order), part["prediction"])), rules
        ).assign(policy=policy, budget=budget)
        for (policy, budget), part in predictions.groupby(_CELL, sort=False)
    ]
    columns = ["unit", "image_id", *_CELL, *SCORES, "unread"]
    frame = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
    if frame.empty:
        _LOG.warning("%s: nothing that can be scored among %d samples", benchmark.name, len(samples))
    frame = frame[columns].sort_values(["unit", *_CELL], ignore_index=True)
    unread = int(frame["unread"].sum())
    if unread:
        _LOG.warning("%s: %d answers could not be read and count as wrong", benchmark.name, unread)
    return frame


def no_score(benchmark: Benchmark) -> str | None:
    """What keeps the benchmark's scores from being computed here, with its cure; None where nothing does."""
    metrics = [metric for metric in benchmark.rules.values() if isinstance(metric, RunMetric)]
    return next((reason for metric in metrics if (reason := metric.lacks())), None)


def _cell(
    benchmark: Benchmark, samples: Sequence[Sample], answers: Sequence[tuple[int, str]], rules: str
) -> pd.DataFrame:
    """The units of one cell.

    Args:
        benchmark: with its rule sets.
        samples: of the run.
        answers: number of a sample and prediction, in the samples' order.
        rules: the chosen rule set.
    """
    asked = [samples[number] for number, _ in answers]
    texts = [text.strip() for _, text in answers]
    units: dict[str, dict[int, Unit]] = {}
    found: list[tuple[Metric, dict[int, Unit]]] = []
    for name in dict.fromkeys((rules, *RULE_SETS)):
        metric = benchmark.rules.get(name)
        known = next((each for other, each in found if other == metric), None)
        if known is None:
            known = {unit.row: unit for unit in _units(metric, asked, texts)}
            if metric is not None:
                found.append((metric, known))
        units[name] = known
    rows: list[dict[str, Any]] = []
    for row, unit in units[rules].items():
        scores = {f"score_{name}": _score(units[name].get(row)) for name in RULE_SETS}
        own = {"unit": asked[row].id, "image_id": asked[row].image_id, "unread": unit.unread}
        rows.append({**own, "score": _score(unit), **scores})
    return pd.DataFrame(rows, columns=["unit", "image_id", *SCORES, "unread"])


def _units(metric: Metric | None, asked: Sequence[Sample], texts: Sequence[str]) -> list[Unit]:
    """The units of a metric; a row each for a metric of single rows."""
    rows = [sample.data for sample in asked]
    if metric is None:
        return []
    if isinstance(metric, RunMetric):
        return metric.score(rows, texts)
    return [Unit(number, score) for number, score in enumerate(metric(rows, texts).rows)]


def _score(unit: Unit | None) -> float:
    return float("nan") if unit is None or unit.score is None else float(unit.score)
