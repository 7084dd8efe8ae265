"""A random part of a run's predictions, computed again and compared with what the result files say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sparsemm.errors import InputError
from sparsemm.evaluation.configured import Shard
from sparsemm.evaluation.evaluate import evaluate
from sparsemm.heads.scores import HeadScores
from sparsemm.labels import split_label
from sparsemm.models import Loaded
from sparsemm.results.parquet import read_metadata, read_table
from sparsemm.results.verify import Fault, result_files

_SAME = ("prediction", "prompt_tokens", "kept_tokens", "cache_bytes", "score", "score_paper", "score_current")
_KEYS = ["sample_id", "policy", "budget"]
_ROUNDING = 1e-9  # of kept tokens and scores


class Recomputed(NamedTuple):
    """What came of it.

    Attributes:
        rows: how many were computed again.
        faults: the rows that came out otherwise.
    """

    rows: int
    faults: list[Fault]


def recompute(
    folder: str | Path,
    *,
    share: float = 0.01,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
) -> Recomputed:
    """Compute a random part of the rows of every predictions file again.

    The model, the rows of the benchmark and the head scores are those that the run's configuration names, seen from
    the working directory: the project's folder. Every row is answered by itself, in no batch.

    Args:
        folder: of the run.
        share: of a file's rows, in (0, 1]; one row at least.
        seed: which rows.
        device: to compute on; default: that of the file.
        progress: show a bar on stderr.

    Raises:
        InputError: for a run without predictions, a file that does not say how it was made, a model that is not there
            or is another than the run's, and an absent device.
    """
    base = Path(folder)
    files = [path for path in result_files(base) if read_metadata(path)["kind"] == "predictions"]
    if not files:
        raise InputError(f"{base}: no predictions to compute again; run `snakemake evaluate` first")
    rng = np.random.default_rng(seed)
    loaded: dict[tuple[str, ...], Loaded] = {}
    rows, faults = 0, list[Fault]()
    for path in files:
        drawn = _draw(read_table(path, "predictions"), share, rng)
        found = _again(path, base, drawn, device, loaded, progress)
        rows += len(drawn)
        faults += [Fault(path.relative_to(base).as_posix(), text) for text in _differing(drawn, found)]
    return Recomputed(rows, faults)


def _draw(frame: pd.DataFrame, share: float, rng: np.random.Generator) -> pd.DataFrame:
    count = min(len(frame), max(1, math.ceil(share * len(frame))))
    return frame.iloc[sorted(rng.choice(len(frame), count, replace=False))]


def _again(
    path: Path,
    base: Path,
    drawn: pd.DataFrame,
    device: str | None,
    models: dict[tuple[str, ...], Loaded],
    progress: bool,
) -> pd.DataFrame:
    """The drawn rows of a file, computed again."""
    facts = read_metadata(path)
    if "configuration" not in facts:
        raise InputError(f"{path}: does not say the configuration that it was made with; answer again")
    try:
        shard = Shard.of(facts["configuration"])
        loaded = _model(shard, facts, device, models)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    benchmark = shard.make_benchmark()
    by_id = {sample.id: sample for sample in shard.samples(benchmark)}
    missing = set(drawn["sample_id"]) - by_id.keys()
    if missing:
        raise InputError(
            f"{path}: sample {min(missing)} is not in this benchmark's rows; the data are other than the run's"
        )
    pairs = list(dict.fromkeys(zip(drawn["policy"], drawn["budget"], strict=True)))
    scores, of_sets = _scores(base, shard.model_name, [label for label, _ in pairs])
    cells = {(cell.label, cell.budget): cell for cell in shard.cells(pairs, loaded, scores, of_sets)}
    how = shard.run_settings(progress=False)
    parts = []
    for name, rows in _bar(drawn.groupby("sample_id"), shard.benchmark_name, progress):
        asked = [cells[pair] for pair in zip(rows["policy"], rows["budget"], strict=True)]
        parts.append(evaluate(loaded, benchmark, [by_id[name]], asked, how))
    return pd.concat(parts, ignore_index=True)


def _bar(groups: Any, what: str, shown: bool) -> Iterator[Any]:
    from tqdm import tqdm  # type: ignore[import-untyped]

    yield from tqdm(groups, unit="sample", desc=what, disable=not shown)


def _model(
    shard: Shard, facts: dict[str, Any], device: str | None, models: dict[tuple[str, ...], Loaded]
) -> Loaded:
    """The model of a shard, loaded once. Raises InputError where it is not there or not the run's."""
    where = device or str(facts["device"])
    dtype = str(facts["dtype"])
    key = (shard.model_name, str(shard.model), shard.settings["rules"], where, dtype)
    if key not in models:
        models.clear()  # one model in memory
        try:
            models[key] = shard.load_model(where, dtype)
        except InputError as error:
            cure = "run this in the project's folder, with the run's models in place"
            raise InputError(f"{error}; {cure}") from error
    loaded = models[key]
    if loaded.revision != facts["model_revision"]:
        raise InputError(
            f"models.{shard.model_name}: {loaded.revision} is here, the run had {facts['model_revision']}; "
            "take the run's model"
        )
    return loaded


def _scores(base: Path, model: str, labels: list[str]) -> tuple[HeadScores, dict[str, HeadScores]]:
    """The run's head scores, and those of the further probe sets that labels name."""
    scores = HeadScores.load(base / "scores" / f"{model}.parquet")
    names = {split_label(label).settings.get("probe") for label in labels} - {None}
    folder = base / "scores" / "sets"
    return scores, {str(name): HeadScores.load(folder / str(name) / f"{model}.parquet") for name in names}


def _differing(drawn: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """One line for every row that came out otherwise, or not at all."""
    joined = drawn.merge(found, on=_KEYS, how="left", suffixes=("", "_again"), indicator="there")
    texts = []
    for row in joined.to_dict("records"):
        where = f"sample {row['sample_id']}, {row['policy']} at {row['budget']}"
        if row["there"] != "both":
            texts.append(f"{where}: no answer when computed again")
            continue
        for name in _SAME:
            said, again = row[name], row[f"{name}_again"]
            if not _equal(said, again):
                texts.append(f"{where}: {name} is {said!r:.60}, computed again {again!r:.60}")
                break
    return texts


def _equal(said: Any, again: Any) -> bool:
    if isinstance(said, str) or isinstance(again, str):
        return bool(said == again)
    if pd.isna(said) or pd.isna(again):
        return bool(pd.isna(said) and pd.isna(again))
    return abs(float(said) - float(again)) <= _ROUNDING
