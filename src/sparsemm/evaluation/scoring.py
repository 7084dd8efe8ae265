"""The column `score` of result rows."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsemm.benchmarks import Benchmark, Sample, score_rows
from sparsemm.benchmarks.scoring import rule_set


def score_column(
    frame: pd.DataFrame, benchmark: Benchmark, samples: Sequence[Sample], run: Sequence[str], rules: str
) -> pd.Series:
    """Score the predictions of one shard.

    Args:
        frame: rows with sample_id, prediction and the columns of `run`.
        samples: the samples that the rows are about.
        run: columns that tell one run over the samples from another (policy and budget, or the mask).
        rules: rule set of the metric.

    Returns:
        float64, in the frame's order. NaN for a metric of whole runs: a shard is only a part of one, which `score_rows`
        scores over the predictions of all shards.

    Raises:
        InputError: for a rule set that the benchmark does not have.
    """
    scores = pd.Series(float("nan"), index=frame.index, dtype="float64")
    if not rule_set(benchmark, rules).by_row:
        return scores
    rows = {sample.id: sample.data for sample in samples}
    for _, part in frame.groupby(list(run), sort=False):
        asked = [rows[name] for name in part["sample_id"]]
        scores[part.index], _ = score_rows(benchmark, asked, part["prediction"].tolist(), rules=rules)
    return scores
