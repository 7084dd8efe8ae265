"""Checks of a run's result files, as they lie in its folder: nothing is computed again.

A file must have its schema, one row a key, say how it was made, and be made from the files that are there; a benchmark
every sample in every cell; a cell no more tokens than its budget; head scores the sum 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sparsemm.errors import InputError
from sparsemm.labels import split_label
from sparsemm.results.provenance import file_digest
from sparsemm.results.parquet import read_metadata, read_table
from sparsemm.results.schemas import KEYS

MADE = ("config_sha256", "git_revision", "packages")  # what every file says of how it was made
_HIDDEN = ("work", "logs", "benchmarks", "checkpoints", "train")
_ROUNDING = 0.5  # tokens that the mean over heads may be above the budget, as a head's share is rounded


class Fault(NamedTuple):
    """What is wrong with a file of a run.

    Attributes:
        file: relative to the run's folder.
        text: what is wrong and what to do.
    """

    file: str
    text: str


def result_files(folder: str | Path) -> list[Path]:
    """The result files of a run, sorted.

    Raises:
        InputError: if there is no such folder, or no result file in it.
    """
    base = Path(folder)
    if not base.is_dir():
        raise InputError(f"{base}: no such folder; give the folder of a run, such as results/embedded")
    found = [p for p in base.rglob("*.parquet") if p.relative_to(base).parts[0] not in _HIDDEN]
    if not found:
        raise InputError(f"{base}: no result files; give the folder of a run, such as results/embedded")
    return sorted(found)


def verify_files(folder: str | Path) -> list[Fault]:
    """All faults of a run's result files, in the order of the files.

    Raises:
        InputError: as `result_files`.
    """
    base = Path(folder)
    faults: list[Fault] = []
    digests: dict[Path, str] = {}
    predictions: dict[tuple[str, str], list[Path]] = {}
    for path in result_files(base):
        texts = list(_of_file(path))
        texts += [] if texts else list(_of_inputs(path, base, digests))
        faults += [Fault(path.relative_to(base).as_posix(), text) for text in texts]
        if not texts and read_metadata(path)["kind"] == "predictions":
            predictions.setdefault((path.parent.parent.name, path.parent.name), []).append(path)
    for (model, benchmark), paths in predictions.items():
        where = f"predictions/{model}/{benchmark}"
        layers = _layers(base / "scores" / f"{model}.parquet")
        faults += [Fault(where, text) for text in _of_benchmark(paths, layers)]
    return faults


def _of_file(path: Path) -> Iterator[str]:
    """The faults of one file."""
    try:
        facts, frame = read_metadata(path), read_table(path)
    except InputError as error:
        yield str(error).removeprefix(f"{path}: ")
        return
    missing = [name for name in MADE if name not in facts]
    if missing:
        yield f"does not say its {missing[0]}; make it again"
    kind = facts["kind"]
    keys = frame[list(KEYS[kind])]
    if (twice := int(keys.duplicated().sum())) > 0:
        yield f"{twice} rows repeat another's {', '.join(KEYS[kind])}; make it again"
    elif not keys.equals(keys.sort_values(list(KEYS[kind]), ignore_index=True)):
        yield "rows are not in the order of their keys; make it again"
    if kind in _CHECKS:
        yield from _CHECKS[kind](frame)


def _of_inputs(path: Path, base: Path, digests: dict[Path, str]) -> Iterator[str]:
    """Inputs of a file that are now others than it was made from; `digests` are those known so far."""
    for name, digest in read_metadata(path).get("inputs", {}).items():
        source = base / name
        if not source.is_file():
            continue
        if source not in digests:
            digests[source] = file_digest(source)
        if digest != digests[source]:
            yield f"was made from another {name} than is there; make it again"


def _of_predictions(frame: pd.DataFrame) -> Iterator[str]:
    full = frame["policy"] == "fullkv"
    whole = frame["kept_tokens"] - frame["prompt_tokens"]
    if (whole[full].abs() > 1e-9).any():
        row = frame[full & (whole.abs() > 1e-9)].iloc[0]
        yield f"the full cache of sample {row.sample_id} holds {row.kept_tokens:g} of {row.prompt_tokens} tokens"


def _over_budget(frame: pd.DataFrame, layers: int | None) -> Iterator[str]:
    spare = {label: _spare(label, layers) for label in frame["policy"].unique()}
    most = np.minimum(frame["budget"] + frame["policy"].map(spare), frame["prompt_tokens"] + 1e-9)
    over = frame["kept_tokens"] > most
    if over.any():
        row = frame[over].iloc[0]
        yield (
            f"{int(over.sum())} rows keep more than their budget: sample {row.sample_id}, {row.policy} at "
            f"{row.budget} keeps {row.kept_tokens:g} tokens"
        )


def _spare(label: str, layers: int | None) -> float:
    """Tokens that a cell may keep above its budget."""
    try:
        parts = split_label(label)
    except InputError:  # a policy of somebody else's
        return float("inf")
    # Not the budget says what is kept, or the question is kept above it.
    if parts.method == "fullkv" or {"share", "question"} & set(parts.settings):
        return float("inf")
    if parts.method == "pyramidkv":  # its step from layer to layer is rounded down
        return float("inf") if layers is None else layers / 2
    return _ROUNDING


def _layers(scores: Path) -> int | None:
    """Layers of a model, or None where its scores are not there or cannot be read."""
    try:
        return int(read_table(scores, "scores", ["layer"])["layer"].max()) + 1
    except InputError:
        return None


def _of_keep(frame: pd.DataFrame) -> Iterator[str]:
    means = frame.groupby(["policy", "budget"])["keep"].mean()
    for (policy, budget), mean in means.items():
        if mean > budget + _spare(str(policy), int(frame["layer"].max()) + 1):
            yield f"{policy} at {budget} keeps {mean:g} tokens a head"


def _of_scores(frame: pd.DataFrame) -> Iterator[str]:
    if abs(frame["score"].sum() - 1.0) > 1e-9:
        yield f"the scores add up to {frame['score'].sum():g}, not 1; score the heads again"
    if (frame["hits"] > frame["matched_tokens"]).any():
        yield "a head has more hits than tokens were matched; score the heads again"


_CHECKS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "predictions": _of_predictions,
    "keep": _of_keep,
    "scores": _of_scores,
}


def _of_benchmark(paths: list[Path], layers: int | None) -> Iterator[str]:
    """The faults of all shards of a benchmark together, whose model has `layers`."""
    columns = ["sample_id", "policy", "budget", "kept_tokens", "prompt_tokens"]
    frames = [read_table(path, "predictions", columns) for path in paths]
    joined = pd.concat(frames, ignore_index=True)
    if (twice := joined.duplicated(["sample_id", "policy", "budget"]).sum()) > 0:
        yield f"{int(twice)} rows are in two shards; remove shards of another run"
        return
    cells, samples = joined[["policy", "budget"]].drop_duplicates(), joined["sample_id"].nunique()
    if (holes := len(cells) * samples - len(joined)) > 0:
        counts = joined.groupby(["policy", "budget"]).size()
        policy, budget = counts.idxmin()
        yield f"{holes} of {len(cells) * samples} rows are missing, of {policy} at {budget} for one; answer again"
    made = {read_metadata(path).get("config_sha256") for path in paths}
    if len(made) > 1:
        yield "shards are of different configurations; remove those of another run"
    yield from _over_budget(joined, layers)
