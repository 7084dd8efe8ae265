"""The predictions of a run with the questions that were asked, benchmark by benchmark: what exports are made from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sparsemm.benchmarks import Benchmark, get_benchmark
from sparsemm.benchmarks.base import Sample
from sparsemm.errors import InputError
from sparsemm.results.parquet import read_metadata, read_table

_FULL_CACHE = "fullkv"
_DRAWN = re.compile(r"-(\d{6})(?:-(\d+))?$")  # the end of a drawn sample's id: image, question


@dataclass(frozen=True)
class Asked:
    """A question as it was put.

    Attributes:
        place: of the sample in the data set, from 0.
        question: the data set's own, else the prompt.
        prompt: the text that the model was asked, before its chat format.
        answers: the right ones.
        row: the data set's own columns, without the image.
    """

    place: int
    question: str
    prompt: str
    answers: tuple[str, ...]
    row: dict[str, Any]


@dataclass(frozen=True)
class Answered:
    """One model's answers to one benchmark under one policy and budget.

    Attributes:
        model, benchmark: their names.
        cell: policy and budget, as a part of a file's name, such as "sparsemm-32"; "fullkv" for the full cache.
        asked: by sample id.
        answers: rows of sample_id, prediction, score, in the order of the data set.
    """

    model: str
    benchmark: str
    cell: str
    asked: dict[str, Asked]
    answers: pd.DataFrame

    @property
    def name(self) -> str:
        """What another tool calls the model: name and cell."""
        return f"{self.model}-{self.cell}"


def answered(run: str | Path) -> Iterator[Answered]:
    """Every cell of a run.

    Questions of drawn benchmarks are drawn again, those of the hub are read where they were fetched.

    Raises:
        InputError: for a folder without predictions, a benchmark whose rows are not there, and questions whose right
            answers are not those of the predictions.
    """
    folders = sorted({path.parent for path in Path(run).glob("predictions/*/*/*.parquet")})
    if not folders:
        raise InputError(
            f"{run}: no predictions; give the folder of a finished run, such as results/embedded"
        )
    for folder in folders:
        shards = sorted(folder.glob("*.parquet"))
        columns = ["sample_id", "policy", "budget", "prediction", "answers", "score"]
        frame = pd.concat([read_table(path, "predictions", columns) for path in shards], ignore_index=True)
        asked = _asked(folder, frame, read_metadata(shards[0]))
        for (policy, budget), rows in frame.groupby(["policy", "budget"], sort=True):
            places = rows["sample_id"].map(lambda key, of=asked: of[key].place)
            ordered = rows.assign(place=places).sort_values("place", ignore_index=True)
            cell = str(policy) if policy == _FULL_CACHE else f"{policy}-{budget}"
            yield Answered(folder.parent.name, folder.name, re.sub(r"[^\w.@=-]+", "_", cell), asked, ordered)


def _asked(folder: Path, frame: pd.DataFrame, facts: dict[str, Any]) -> dict[str, Asked]:
    """The questions of a benchmark's predictions, by sample id."""
    given = dict(zip(frame["sample_id"], frame["answers"]))
    rules = str(facts.get("rules", "paper"))
    benchmark, samples = _samples(folder.name, list(given), int(facts.get("seed", 0)))
    asked = {}
    for place, sample in enumerate(samples):
        if sample.id not in given:
            continue
        if list(sample.answers) != list(given[sample.id]):
            raise InputError(
                f"{folder}: sample {sample.id} has other right answers than this data; export where the run was made"
            )
        row = dict(sample.data)
        prompt = benchmark.prompt(row, rules=rules)
        asked[sample.id] = Asked(place, str(row.get("question", prompt)), prompt, sample.answers, row)
    if lacking := sorted(given.keys() - asked.keys()):
        raise InputError(f"{folder}: no question for sample {lacking[0]}; export where the run's data is")
    return asked


def _samples(name: str, ids: list[str], seed: int) -> tuple[Benchmark, Iterator[Sample]]:
    """A benchmark and its samples: of a drawn one as many as reach the last of `ids`."""
    benchmark = get_benchmark(name)
    if hasattr(benchmark, "hub"):
        return benchmark, benchmark.load(None, seed)
    found = [match for match in map(_DRAWN.search, ids) if match]
    if len(found) < len(ids):
        raise InputError(
            f"benchmarks.{name}: sample ids are not of this benchmark; make the predictions again"
        )
    turns = 1 + max(int(match[2] or 0) for match in found)
    if any(match[2] for match in found):
        benchmark = get_benchmark(name, questions=turns)
    count = (1 + max(int(match[1]) for match in found)) * turns
    return benchmark, benchmark.load(count, seed)
