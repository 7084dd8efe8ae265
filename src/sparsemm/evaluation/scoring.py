"""The columns `score`, `score_paper` and `score_current` of result rows."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsemm.benchmarks import Benchmark, Metric, Sample, score_rows

RULE_SETS = ("paper", "current")
SCORES = ["score", *(f"score_{name}" for name in RULE_SETS)]


def score_columns(
    frame: pd.DataFrame, benchmark: Benchmark, samples: Sequence[Sample], run: Sequence[str], rules: str
) -> pd.DataFrame:
    """Score the predictions of one shard by every rule set.

    Args:
        frame: rows with sample_id, prediction and the columns of `run`.
        benchmark: with its rule sets.
        samples: the samples that the rows are about.
        run: columns that tell one run over the samples from another (policy and budget, or the mask).
        rules: the chosen rule set, whose score is `score`.

    Returns:
        Columns SCORES, float64, in the frame's order. NaN for a metric of whole runs, of which a shard is only a part
        (`score_run` scores them), and for a rule set that the benchmark does not have.
    """
    found: list[tuple[Metric, pd.Series]] = []
    scores = {}
    for name in dict.fromkeys((*RULE_SETS, rules)):
        metric = benchmark.rules.get(name)
        column = next((column for other, column in found if other == metric), None)
        if column is None:
            column = _column(frame, benchmark, samples, run, name, metric)
            if metric is not None:
                found.append((metric, column))
        scores[name] = column
    return pd.DataFrame({"score": scores[rules], **{f"score_{name}": scores[name] for name in RULE_SETS}})


def _column(
    frame: pd.DataFrame,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    run: Sequence[str],
    rules: str,
    metric: Metric | None,
) -> pd.Series:
    scores = pd.Series(float("nan"), index=frame.index, dtype="float64")
    if metric is None or not metric.by_row:
        return scores
    rows = {sample.id: sample.data for sample in samples}
    for _, part in frame.groupby(list(run), sort=False):
        asked = [rows[name] for name in part["sample_id"]]
        scores[part.index], _ = score_rows(benchmark, asked, part["prediction"].tolist(), rules=rules)
    return scores
