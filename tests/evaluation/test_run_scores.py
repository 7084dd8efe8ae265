"""Scores of metrics that need all shards, by both rule sets."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sparsemm.benchmarks import EncodedImage, Generation, Metric, RowMetric, RunMetric, Sample, get_benchmark
from sparsemm.benchmarks.metric import Unit
from sparsemm.errors import InputError
from sparsemm.evaluation.run_scores import no_score, score_run
from sparsemm.results.parquet import read_table, write_table

IMAGE = EncodedImage("none", lambda: b"")


def pairs(rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> list[Unit]:
    """A unit is a row and the next one: 1 if both are "yes"; "?" is not read."""
    return [
        Unit(number, float(texts[number : number + 2] == ["yes"] * 2), texts[number : number + 2].count("?"))
        for number in range(0, len(rows), 2)
    ]


PAIRED = RunMetric(pairs)


@dataclasses.dataclass(frozen=True)
class Pairs:
    paper: Metric = PAIRED
    current: Metric = PAIRED
    name: str = "pairs"
    metric: str = "pairs"

    @property
    def rules(self) -> Mapping[str, Metric]:
        return {"paper": self.paper, "current": self.current}

    def generation(self, family: str) -> Generation:
        return Generation(3)

    def load(self, count: int | None, seed: int, *, shard: int = 0, shards: int = 1) -> Iterator[Sample]:
        for index in range(count or 6):
            yield Sample(f"pairs-{index}", f"image-{index // 2}", ("yes",), {"row": index}, IMAGE)

    def prompt(self, row: Mapping[str, Any], family: str = "", *, rules: str = "paper") -> str:
        return ""


def predictions(texts: Sequence[str], policy: str = "fullkv", budget: int = 0) -> pd.DataFrame:
    """Of all shards, in any order."""
    rows = [(f"pairs-{index}", policy, budget, text) for index, text in enumerate(texts)]
    frame = pd.DataFrame(rows, columns=["sample_id", "policy", "budget", "prediction"])
    return frame.sample(frac=1, random_state=0)


def test_units_of_every_cell_are_a_run_scores_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = [
        predictions([" yes", "yes", "no", "yes", "?", "?"]),
        predictions(["yes"] * 6, "snapkv", 64),
    ]
    with caplog.at_level(logging.WARNING):
        frame = score_run(Pairs(), list(Pairs().load(None, 0)), pd.concat(parts))
    write_table(tmp_path / "pairs.parquet", frame, "run_scores", {})
    back = read_table(tmp_path / "pairs.parquet", "run_scores")
    full = back[back.policy == "fullkv"]
    assert full.unit.tolist() == ["pairs-0", "pairs-2", "pairs-4"]
    assert full.image_id.tolist() == ["image-0", "image-1", "image-2"]
    assert full.score.tolist() == full.score_paper.tolist() == full.score_current.tolist() == [1, 0, 0]
    assert full.unread.tolist() == [0, 0, 2]
    assert (back[back.budget == 64].score == 1).all()
    assert [record.getMessage() for record in caplog.records] == [
        "pairs: 2 answers could not be read and count as wrong"
    ]


def test_the_chosen_rule_set_says_which_units_there_are() -> None:
    benchmark = Pairs(current=RowMetric(lambda row, text: row["row"] / 10))
    asked = (benchmark, list(benchmark.load(None, 0)), predictions(["yes"] * 6))
    frame = score_run(*asked)
    assert frame.score_current.tolist() == [0, 0.2, 0.4]
    assert frame.score.tolist() == frame.score_paper.tolist() == [1, 1, 1]
    frame = score_run(*asked, "current")
    assert frame.score.tolist() == frame.score_current.tolist() == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert frame.score_paper.isna().tolist() == [False, True] * 3


def test_a_metric_that_cannot_be_computed_here_leaves_the_scores_empty(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metric = RunMetric(
        lambda rows, texts: [Unit(number, None) for number in range(len(rows))],
        lacks=lambda: "Java is missing: install a Java runtime",
    )
    benchmark = Pairs(metric, metric)
    with caplog.at_level(logging.WARNING):
        frame = score_run(benchmark, list(benchmark.load(None, 0)), predictions(["a"] * 6))
    write_table(tmp_path / "pairs.parquet", frame, "run_scores", {})
    back = read_table(tmp_path / "pairs.parquet", "run_scores")
    assert len(back) == 6
    assert back[["score", "score_paper", "score_current"]].isna().all(axis=None)
    assert "pairs: predictions are kept, scores are not: Java is missing" in caplog.text
    assert no_score(benchmark) == "Java is missing: install a Java runtime"
    assert no_score(Pairs()) is None


def test_rows_without_predictions_and_runs_without_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = list(Pairs().load(None, 0))
    frame = score_run(Pairs(), samples, predictions(["yes"] * 4))  # the last image could not be decoded
    assert frame.unit.tolist() == ["pairs-0", "pairs-2"]
    with caplog.at_level(logging.WARNING):
        empty = score_run(Pairs(), samples, predictions([]))
    write_table(tmp_path / "pairs.parquet", empty, "run_scores", {})
    assert len(read_table(tmp_path / "pairs.parquet", "run_scores")) == 0
    assert "nothing that can be scored among 6 samples" in caplog.text
    with pytest.raises(InputError, match="predictions of pairs-2, which is no sample of this run"):
        score_run(Pairs(), samples[:2], predictions(["yes"] * 4))
    with pytest.raises(InputError, match="unknown rule set"):
        score_run(Pairs(), samples, predictions(["yes"]), "old")


def test_the_mean_of_mmbench_s_units_is_its_score() -> None:
    from sparsemm.benchmarks import score_rows

    benchmark = get_benchmark("mmbench")
    rows = [
        {"index": turn * 1_000_000 + question, "A": "x", "B": "y", "C": "nan", "D": "nan", "answer": answer}
        for question, answers in ((3, "AB"), (7, "BA"))
        for turn, answer in enumerate(answers)
    ]
    texts = ["A", "B", "B", "what?"]
    samples = [
        Sample(f"m-{number}", f"i-{row['index'] % 10}", (row["answer"],), row, IMAGE)
        for number, row in enumerate(rows)
    ]
    asked = pd.DataFrame(
        {"sample_id": [s.id for s in samples], "policy": "fullkv", "budget": 0, "prediction": texts}
    )
    frame = score_run(benchmark, samples, asked)
    assert frame.score.tolist() == [1, 0]
    assert frame.unread.tolist() == [0, 1]
    assert frame.score.mean() == score_rows(benchmark, rows, texts)[1]
