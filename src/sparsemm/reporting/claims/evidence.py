"""The result files of a run as the claims read them. The cells of a model and benchmark are resampled once."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sparsemm.labels import method_settings
from sparsemm.reporting.claims.paper import Paper
from sparsemm.reporting.claims.thresholds import DRAWS, LEAST_MATCHED
from sparsemm.reporting.notes import why_uniform
from sparsemm.reporting.paper_values import PAPER_MODELS
from sparsemm.reporting.summary import (
    Paths,
    as_paths,
    images_of,
    in_order,
    part,
    read_efficiency,
    read_masks,
    read_predictions,
    score_matrix,
)
from sparsemm.results.parquet import read_table
from sparsemm.stats import bootstrap_means

Floats = NDArray[np.float64]


class Resampled:
    """Mean scores of the columns of a matrix, resampled with the rows of an image drawn together.

    Two made-up samples, one for and one against any difference by a whole point, are drawn with the real ones, each
    an image of its own: where few samples differ, the interval of a difference has the width that the rule of three
    gives it, not 0.

    Attributes:
        samples: rows of the matrix.
    """

    def __init__(self, matrix: pd.DataFrame, images: Sequence[str], *, name: str, draws: int) -> None:
        self.samples = len(matrix)
        self._columns = {key: index for index, key in enumerate(matrix.columns)}
        values = matrix.to_numpy(np.float64)
        self._points = values.mean(axis=0)
        table = np.zeros((len(values) + 2, values.shape[1] + 1))
        table[:-2, :-1] = values
        table[-2:, -1] = 1.0, -1.0
        keys: list[Any] = [*images, 0, 1]  # images are strings
        # A seed of its own for each benchmark: draws of two benchmarks are not to move together.
        means = bootstrap_means(table, draws=draws, seed=zlib.crc32(name.encode()), clusters=keys)
        self._means, self.spread = means[:, :-1], means[:, -1]

    def __contains__(self, key: object) -> bool:
        return key in self._columns

    @property
    def columns(self) -> list[Any]:
        """The names of the columns."""
        return list(self._columns)

    def point(self, key: Any) -> float:
        """Mean score of a column."""
        return float(self._points[self._columns[key]])

    def draws(self, key: Any) -> Floats:
        """Its resampled means, [draws]."""
        found: Floats = self._means[:, self._columns[key]]
        return found

    def difference(self, first: Any, second: Any) -> tuple[float, Floats]:
        """Mean of the first column minus that of the second, and its resamples."""
        return self.point(first) - self.point(second), self.draws(first) - self.draws(second) + self.spread


class Cells(Resampled):
    """The cells of one model on one benchmark, (policy label, budget) each.

    Attributes:
        benchmark: their benchmark.
        prompt_tokens: mean tokens of a prompt.
        kept: mean tokens kept per KV head, by cell.
    """

    def __init__(
        self,
        matrix: pd.DataFrame,
        images: Sequence[str],
        *,
        benchmark: str,
        prompt_tokens: float,
        kept: Mapping[tuple[str, int], float],
        draws: int,
    ) -> None:
        super().__init__(matrix, images, name=benchmark, draws=draws)
        self.benchmark, self.prompt_tokens, self.kept = benchmark, prompt_tokens, kept

    @classmethod
    def of_rows(cls, rows: pd.DataFrame, model: str, benchmark: str, draws: int) -> Cells:
        """The cells of rows of predictions."""
        matrix = score_matrix(rows, ["policy", "budget"], f"predictions of {model} on {benchmark}")
        return cls(
            matrix,
            images_of(rows, matrix),
            benchmark=benchmark,
            prompt_tokens=float(rows["prompt_tokens"].mean()),
            kept=rows.groupby(["policy", "budget"])["kept_tokens"].mean().to_dict(),
            draws=draws,
        )

    def budgets(self, policy: str, *, at_most: float = np.inf) -> list[int]:
        """Budgets of a policy's cells up to a share of the mean prompt, in increasing order."""
        limit = at_most * self.prompt_tokens
        return sorted(budget for label, budget in self.columns if label == policy and 0 < budget <= limit)

    def settings(self, key: str) -> dict[str, str]:
        """The labels "sparsemm[<key>=<value>]" of the cells: value to label."""
        found = {label: method_settings(label) for label in in_order(label for label, _ in self.columns)}
        alone = {
            label: own for label, (method, own) in found.items() if method == "sparsemm" and len(own) == 1
        }
        return {own[key]: label for label, own in alone.items() if key in own}


class Evidence:
    """What a run has, read when it is asked for.

    Args:
        predictions, run_scores, scores, samples, masks, efficiency: result files of these kinds, as other tables read
            them.
        sets: files of kind scores of further probe sets, named .../<set>/<model>.parquet.
        paper: the files of data/paper by name; none: no number of the paper is shown.
        draws: resamples of every bootstrap.
    """

    def __init__(
        self,
        *,
        predictions: Paths = (),
        run_scores: Paths = (),
        scores: Paths = (),
        samples: Paths = (),
        masks: Paths = (),
        efficiency: Paths = (),
        sets: Paths = (),
        paper: Paths = (),
        draws: int = DRAWS,
    ) -> None:
        self._predictions, self._run_scores = as_paths(predictions), as_paths(run_scores)
        self._masks, self._efficiency = as_paths(masks), as_paths(efficiency)
        self._scores = {path.stem: path for path in as_paths(scores)}
        self._samples = {path.stem: path for path in as_paths(samples)}
        self._sets = {(path.stem, path.parent.name): path for path in as_paths(sets)}
        self._paper = {path.stem: path for path in as_paths(paper)}
        self._beside: dict[str, Paper] = {}
        self._heads: dict[Path, pd.DataFrame] = {}
        self.draws = draws
        self._cells: dict[tuple[str, str], Cells | None] = {}

    @cached_property
    def models(self) -> list[str]:
        """The models of the run; those of the paper where nothing was run."""
        of_files = [path.parent.parent.name for path in self._predictions]
        of_files += [path.parent.name for path in [*self._masks, *self._efficiency]]
        return in_order([*self._scores, *self._samples, *of_files]) or list(PAPER_MODELS)

    def benchmarks(self, model: str) -> list[str]:
        """The benchmarks that a model answered."""
        return in_order(p.parent.name for p in self._predictions if p.parent.parent.name == model)

    def cells(self, model: str, benchmark: str) -> Cells | None:
        """The cells of a model on a benchmark; None where it has no score."""
        key = (model, benchmark)
        if key not in self._cells:
            rows = part(self._frame, model, benchmark)
            scored = len(rows) and rows["score"].notna().any()
            self._cells[key] = Cells.of_rows(rows, model, benchmark, self.draws) if scored else None
        return self._cells[key]

    def all_cells(self, model: str) -> list[Cells]:
        """The cells of every benchmark with a score."""
        found = (self.cells(model, benchmark) for benchmark in self.benchmarks(model))
        return [cells for cells in found if cells is not None]

    @cached_property
    def _frame(self) -> pd.DataFrame:
        return read_predictions(self._predictions, self._run_scores)

    def masks(self, model: str) -> dict[str, Resampled]:
        """The masked runs of a model by benchmark, with columns (kind, fraction, seed)."""
        found = {}
        frame = self._mask_frame
        frame = frame[frame["model"] == model]
        for benchmark in in_order(frame["benchmark"]):
            rows = part(frame, model, benchmark)
            matrix = score_matrix(rows, ["kind", "fraction", "seed"], f"masks of {model} on {benchmark}")
            if len(matrix):
                images = images_of(rows, matrix)
                found[benchmark] = Resampled(matrix, images, name=benchmark, draws=self.draws)
        return found

    @cached_property
    def _mask_frame(self) -> pd.DataFrame:
        if not self._masks:
            return pd.DataFrame(columns=["model", "benchmark"])
        return read_masks(self._masks, self._predictions)

    def scores(self, model: str, probe: str = "") -> pd.DataFrame | None:
        """The scores file of a model, or of a further probe set; None where it is not there."""
        path = self._sets.get((model, probe)) if probe else self._scores.get(model)
        if path is None:
            return None
        if path not in self._heads:
            self._heads[path] = read_table(path, "scores")
        return self._heads[path]

    def sets(self, model: str) -> list[str]:
        """Further probe sets on which a model's heads were scored."""
        return [name for of, name in self._sets if of == model]

    def unread(self, model: str, probe: str) -> str:
        """Why a further probe set has not scored a model's heads: it read nothing of it, or too little; else empty."""
        path = self._sets.get((model, probe))
        frame = self.scores(model, probe)
        if path is None or frame is None:
            return ""
        if uniform := why_uniform(path):
            return f"{uniform} on its images: the set has not scored the heads"
        matched = int(frame["matched_tokens"].max())
        return "" if matched >= LEAST_MATCHED else f"{matched} tokens matched: too few to score the heads"

    def weights(self, model: str) -> Floats | None:
        """What each probe image adds to each head's score, [images, heads]; None where the file is not there."""
        path: Path | None = self._samples.get(model)
        if path is None:
            return None
        table = read_table(path, "score_samples", ["image_id", "layer", "head", "weight"])
        wide = table.pivot(index="image_id", columns=["layer", "head"], values="weight")
        return np.asarray(wide.to_numpy(np.float64))

    def efficiency(self, model: str) -> pd.DataFrame:
        """Median decode latencies of a model: policy, input_tokens, decode_ms_per_token, repeats; may have no row."""
        columns = ["policy", "input_tokens"]
        if not self._efficiency:
            return pd.DataFrame(columns=[*columns, "decode_ms_per_token"])
        frame = self._times
        own = frame[frame["model"] == model]
        return own.groupby(columns, as_index=False)["decode_ms_per_token"].median()

    @cached_property
    def _times(self) -> pd.DataFrame:
        return read_efficiency(self._efficiency)

    def paper(self, model: str) -> Paper:
        """The paper's numbers beside those of a model."""
        if model not in self._beside:
            self._beside[model] = Paper(self._paper, model, self.is_mha(model))
        return self._beside[model]

    def is_mha(self, model: str) -> bool | None:
        """Whether every query head has a KV head of its own; None where no scores file says so."""
        frame = self.scores(model)
        return None if frame is None else bool((frame["head"] == frame["kv_head"]).all())
