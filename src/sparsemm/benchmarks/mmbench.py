"""MMBench: multiple-choice questions, each asked with its options rotated; right only if every rotation is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sparsemm.benchmarks.base import Row
from sparsemm.benchmarks.hub import HubBenchmark, text
from sparsemm.benchmarks.metric import RunMetric, Unit
from sparsemm.errors import InputError
from sparsemm.metrics import read_option
from sparsemm.metrics.mmbench import is_null

_TURN = 1_000_000  # a rotation's index is its question's plus a multiple of this
_POST_PROMPT = "\nAnswer with the option's letter from the given choices directly."


def _ask(row: Row) -> str:
    """Hint and question, the options that are there, and a blank line before the request."""
    options = [f"{letter}. {row[letter]}" for letter in "ABCDE" if _is_there(row.get(letter)) and row[letter]]
    choices = "\n".join(["There are several options:", *options]).rstrip("\n")
    hint = row.get("hint")
    asked = f"{text(row, 'question')} {choices}\n{_POST_PROMPT}"
    return f"{hint} {asked}" if _is_there(hint) else asked


def _is_there(value: object) -> bool:
    return not is_null(value) and value != "nan"


def _answers(row: Row) -> list[str]:
    given = row["answer"]
    return [given] if _is_there(given) and given else []


def _score(rows: Sequence[Row], predictions: Sequence[str]) -> list[Unit]:
    """A unit a question. No judge reads what `read_option` cannot: such a row is wrong, and counted."""
    indices = [_index(row) for row in rows]
    groups = defaultdict(list)
    for number, index in enumerate(indices):
        groups[index % _TURN].append(number)
    units = []
    for main, index in enumerate(indices):
        if index < _TURN:
            group = groups[index]
            read = [read_option(predictions[number], rows[number]) for number in group]
            right = [letter == rows[number]["answer"] for letter, number in zip(read, group)]
            units.append(Unit(main, float(all(right)), read.count(None)))
    return units


def _index(row: Row) -> int:
    try:
        return int(row["index"])
    except (TypeError, ValueError) as error:
        raise InputError(f"index is {row['index']!r}: give a number") from error


_CIRCULAR = RunMetric(_score)

MMBENCH = HubBenchmark(
    name="mmbench",
    metric="accuracy",
    hub=("lmms-lab/MMBench", "lmms-lab-encoder/MMBench"),
    config="en",
    split="dev",
    columns={
        "index": ("int", "str"),
        **dict.fromkeys(("question", "hint", "A", "B", "C", "D", "answer"), ("str",)),
        **dict.fromkeys(("category", "source", "L2-category", "split"), ("str",)),
    },
    ask=_ask,
    answers=_answers,
    rules={"paper": _CIRCULAR, "current": _CIRCULAR},
    new_tokens=1024,
    until=("ASSISTANT:",),
)
