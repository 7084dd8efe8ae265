"""What the explorer shows of a run, from its result files: numbers and texts as JSON, arrays apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsemm.errors import InputError
from sparsemm.methods import look, main_methods, method_order
from sparsemm.reporting.explorer.answers import SHOWN, sample_answers
from sparsemm.reporting.explorer.pages import page_of
from sparsemm.reporting.summary import (
    Paths,
    as_paths,
    in_order,
    read_efficiency,
    read_predictions,
    summarise,
)
from sparsemm.results.parquet import read_metadata, read_table

Json = dict[str, Any]


@dataclass(frozen=True)
class Sources:
    """The result files of a run; what is missing leaves a hint in its view.

    Attributes:
        scores, keep: named <model>.parquet.
        pages, heads: of kinds head_pages and head_maps, named <model>.parquet.
        ranks, kept: of kinds token_ranks and page_keep, named <model>.parquet.
        predictions: named <model>/<benchmark>/<shard>.parquet.
        run_scores: named <model>/<benchmark>.parquet.
        efficiency: named <model>/<policy>-<tokens>.parquet.
    """

    scores: Paths = ()
    keep: Paths = ()
    pages: Paths = ()
    heads: Paths = ()
    ranks: Paths = ()
    kept: Paths = ()
    predictions: Paths = ()
    run_scores: Paths = ()
    efficiency: Paths = ()


@dataclass(frozen=True)
class Explored:
    """The explorer's content.

    Attributes:
        index: JSON: facts, methods, models, cells, efficiency.
        answers: JSON: a list with an entry a model and benchmark.
        blocks: arrays by name, as models of the index name them.
    """

    index: Json
    answers: list[Json]
    blocks: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def recorded(self) -> int:
        """The most tokens for which attention is held of a model."""
        return max((len(model["tokens"]) for model in self.index["models"]), default=0)

    def halved(self) -> Explored:
        """The same with attention of half the tokens of each answer, the first ones."""
        models, blocks = [], dict(self.blocks)
        for model in self.index["models"]:
            tokens = model["tokens"][: (len(model["tokens"]) + 1) // 2]
            models.append(model | {"tokens": tokens})
            for name in model["maps"].values():
                blocks[name] = blocks[name][: len(tokens)]
        return replace(self, index=self.index | {"models": models}, blocks=blocks)


def gather(sources: Sources, facts: dict[str, str], *, samples: int = SHOWN) -> Explored:
    """Read a run's result files.

    Args:
        sources: what there is of them.
        facts: what to say about the run.
        samples: shown with their answers of each benchmark and model, those on which the policies disagree first.

    Raises:
        InputError: for a file that cannot be read, or no scores and no predictions at all.
    """
    models = in_order(
        [path.stem for path in as_paths(sources.scores)]
        + [path.parent.parent.name for path in as_paths(sources.predictions)]
    )
    if not models:
        raise InputError("explorer: no head scores and no predictions given; run the stages that make them")
    blocks: dict[str, NDArray[Any]] = {}
    entries = [_model(sources, model, index, blocks) for index, model in enumerate(models)]
    cells, efficiency = _cells(sources), _efficiency(sources)
    labels = method_order(
        [row["policy"] for row in cells + efficiency]
        + [label for entry in entries for label in (*entry["plan"], *entry["kept"])]
    )
    main = set(main_methods(labels))
    methods = []
    for number, label in enumerate(labels):
        drawn = look(label, number)
        methods.append(
            {"name": label, "label": drawn.label, "color": drawn.color, "main": label in main or "@" in label}
        )
    index = {
        "facts": facts,
        "methods": methods,
        "models": entries,
        "cells": cells,
        "efficiency": efficiency,
        "shown": samples,
    }
    answers = sample_answers(sources.predictions, sources.run_scores, samples)
    return Explored(index, answers, blocks)


def _model(sources: Sources, model: str, number: int, blocks: dict[str, NDArray[Any]]) -> Json:
    """What there is of one model; its arrays go to `blocks`."""
    entry: Json = {"name": model, "scores": _scores(sources.scores, model)}
    entry["plan"] = _plan(_of(sources.keep, model))
    found = page_of(
        _of(sources.pages, model),
        _of(sources.heads, model),
        _of(sources.ranks, model),
        _of(sources.kept, model),
    )
    for group in ("maps", "ranks"):
        names = {name: f"{group}-{number}-{at}" for at, name in enumerate(found.arrays[group])}
        blocks |= {names[name]: array for name, array in found.arrays[group].items()}
        entry[group] = names
    return entry | {"page": found.page, "tokens": found.tokens, "kept": found.kept}


def _of(paths: Paths, model: str) -> Any:
    """The file of a model, or None."""
    return next((path for path in as_paths(paths) if path.stem == model), None)


def _scores(paths: Paths, model: str) -> Json | None:
    path = _of(paths, model)
    if path is None:
        return None
    frame = read_table(path, "scores")
    return {
        "layers": int(frame["layer"].max()) + 1,
        "heads": int(frame["head"].max()) + 1,
        "kv_heads": int(frame["kv_head"].max()) + 1,
        "matched": int(frame["matched_tokens"].max()),
        "images": read_metadata(path).get("probe_images"),
        "hits": frame["hits"].tolist(),
        **{
            name: rounded(frame[column])
            for name, column in (("score", "score"), ("low", "ci_low"), ("high", "ci_high"))
        },
    }


def _plan(path: Any) -> Json:
    """policy -> budget -> tokens kept beyond the window of each KV head, layer by layer."""
    plan: Json = {}
    if path is not None:
        for (policy, budget), rows in read_table(path, "keep").groupby(["policy", "budget"]):
            plan.setdefault(policy, {})[str(budget)] = rows["keep"].tolist()
    return plan


def _cells(sources: Sources) -> list[Json]:
    if not as_paths(sources.predictions):
        return []
    frame = summarise(read_predictions(sources.predictions, sources.run_scores))
    names = {
        "score": "score",
        "low": "ci_low",
        "high": "ci_high",
        "kept": "kept_tokens",
        "bytes": "cache_bytes",
        "prompt": "prompt_tokens",
    }
    plain = frame[["model", "benchmark", "metric", "policy", "budget", "samples"]].to_dict("records")
    columns = {name: rounded(frame[column]) for name, column in names.items()}
    return [
        _jsonable(row) | {name: values[at] for name, values in columns.items()}
        for at, row in enumerate(plain)
    ]


def _efficiency(sources: Sources) -> list[Json]:
    """One entry a model, policy and length: the repeats of each measurement."""
    if not as_paths(sources.efficiency):
        return []
    frame = read_efficiency(sources.efficiency)
    names = {
        "prefill": "prefill_s",
        "decode": "decode_ms_per_token",
        "peak": "peak_bytes",
        "cache": "cache_bytes",
    }
    keys = ["model", "policy", "budget", "input_tokens", "device"]
    made = []
    for values, rows in frame.groupby(keys, sort=True):
        about = _jsonable(dict(zip(keys, values)))
        made.append(about | {name: rounded(rows[column]) for name, column in names.items()})
    return made


def rounded(values: Iterable[float] | pd.Series, digits: int = 5) -> list[float | None]:
    """Numbers with so many significant digits; None for NaN, which JSON has not."""
    array: Sequence[float] = np.asarray(values, dtype=np.float64).tolist()
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in array]


def _jsonable(row: dict[Any, Any]) -> Json:
    """A row with numpy's scalars as Python's."""
    return {str(key): value.item() if isinstance(value, np.generic) else value for key, value in row.items()}
