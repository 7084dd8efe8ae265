"""Visual scores of a model's attention heads: load, save, group, and what they say about the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemm.budget.allocation import group_scores
from sparsemm.errors import InputError
from sparsemm.heads import score_files
from sparsemm.heads.score_files import SAMPLES_FILE, SCORES_FILE, Counts, Floats, HeadSamples
from sparsemm.results.provenance import model_name
from sparsemm.stats import interval, resample_counts, spearman

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Agreement:
    """How alike two rankings are; intervals are over probe images, None where no per-image rows are known."""

    spearman: float
    overlap: float
    spearman_interval: tuple[float, float] | None
    overlap_interval: tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class HeadScores:
    """Visual scores. values: float64 [L, Hq], non-negative, brought to sum 1; the rest is None or empty if
    unknown.

    hits: int64 [L, Hq]; matched: matched tokens over all images; ci_low, ci_high: bootstrap interval of
    values;
    samples: per image; metadata: model, probe and so on, as the result file has it.
    """

    values: Floats
    hits: Counts | None = None
    matched: int = 0
    ci_low: Floats | None = None
    ci_high: Floats | None = None
    samples: HeadSamples | None = None
    num_kv_heads: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _normalised(self.values))
        if self.num_kv_heads is not None and self.values.shape[1] % self.num_kv_heads:
            raise InputError(
                f"scores: {self.num_kv_heads} KV heads do not divide {self.values.shape[1]} query heads"
            )

    @classmethod
    def from_samples(
        cls,
        samples: HeadSamples,
        *,
        num_kv_heads: int | None = None,
        metadata: dict[str, Any] | None = None,
        level: float = 0.95,
        draws: int = 2000,
        seed: int = 0,
    ) -> HeadScores:
        """Scores of a probe run: each head's share of the weights of all images, with a bootstrap over the
        images.

        The paper divides by all matched tokens, the released code by the images; normalised, both are this.
        """
        if not samples.image_ids or not samples.weights.any():
            raise InputError("scores: no attention hit on any probe image: check the probe set and its boxes")
        shares = _resampled_shares(samples, draws=draws, seed=seed)
        low, high = interval(shares, level=level)
        return cls(
            values=samples.weights.sum(axis=0),
            hits=samples.hits.sum(axis=0),
            matched=int(samples.matched.sum()),
            ci_low=np.round(low, 12),  # BLAS may sum in another order; files of two runs must not differ
            ci_high=np.round(high, 12),
            samples=samples,
            num_kv_heads=num_kv_heads,
            metadata=dict(metadata or {}),
        )

    @classmethod
    def load(cls, path: str | Path, *, samples: str | Path | None = None) -> HeadScores:
        """From our parquet or from the published json, {"layer-head": [value, ...]} (the mean of each list).

        samples: the per-image file, for intervals of `agreement`. InputError names the file and the fault.
        """
        path = Path(path)
        try:
            if path.suffix == ".json":
                return cls(values=score_files.read_json(path))
            return cls._from_parquet(path, None if samples is None else Path(samples))
        except InputError as error:
            if str(path) in str(error) or (samples is not None and str(samples) in str(error)):
                raise
            raise InputError(f"{path}: {error}") from error

    @classmethod
    def _from_parquet(cls, path: Path, samples: Path | None) -> HeadScores:
        from sparsemm.results import parquet as results

        frame, shape = score_files.sorted_heads(results.read_table(path, kind="scores"), path)
        floats = {
            name: frame[name].to_numpy(np.float64).reshape(shape) for name in ("score", "ci_low", "ci_high")
        }
        rows = None
        if samples is not None:
            table = results.read_table(samples, kind="score_samples")
            rows = score_files.samples_from_frame(table, samples)
            score_files.check_samples(rows, floats["score"], samples)
        return cls(
            values=floats["score"],
            hits=frame["hits"].to_numpy(np.int64).reshape(shape),
            matched=int(frame["matched_tokens"].max()),
            ci_low=floats["ci_low"],
            ci_high=floats["ci_high"],
            samples=rows,
            num_kv_heads=int(frame["kv_head"].max()) + 1,
            metadata=results.read_metadata(path),
        )

    def save(self, path: str | Path, *, samples: str | Path | None = None) -> None:
        """Write parquet, or the published format for a name in .json; samples: the per-image file to write
        too.

        Heads whose interval is unknown get their score as its ends.
        """
        path = Path(path)
        if path.suffix == ".json":
            score_files.write_json(path, self.values)
            return
        from sparsemm.results import parquet as results

        if samples is not None:
            if self.samples is None:
                raise InputError(f"{samples}: these scores have no per-image rows to write")
            frame = score_files.samples_frame(self.samples)
            results.write_table(Path(samples), frame, "score_samples", self.metadata)
        results.write_table(path, self.frame(), "scores", self.metadata)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write head_scores.parquet, metadata inside, and the per-image rows if known; made if missing.

        The folder may be the model's own: `from_pretrained` and the command line look there. Returns the file.
        """
        path = Path(folder) / SCORES_FILE
        rows = path.with_name(SAMPLES_FILE)
        self.save(path, samples=None if self.samples is None else rows)
        if self.samples is None:
            rows.unlink(missing_ok=True)  # left by other scores
        return path

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, model: str | None = None) -> HeadScores:
        """What `save_pretrained` wrote; model: the name of the model that they are for, others are refused.

        Raises InputError for a folder without scores, and for scores of another model than `model`.
        """
        path = Path(folder) / SCORES_FILE
        if not path.is_file():
            raise InputError(f"{path}: no head scores there; write them with HeadScores.save_pretrained")
        rows = path.with_name(SAMPLES_FILE)
        scores = cls.load(path, samples=rows if rows.is_file() else None)
        if model is not None:
            scores.require_model(model)
        return scores

    def frame(self) -> pd.DataFrame:
        """One row a head, the columns of the result kind `scores`."""
        return score_files.heads_frame(
            self.values,
            self.values if self.ci_low is None else self.ci_low,
            self.values if self.ci_high is None else self.ci_high,
            np.zeros(self.values.shape, np.int64) if self.hits is None else self.hits,
            self.matched,
            self.num_kv_heads or self.values.shape[1],
        )

    def per_kv_head(self, num_kv_heads: int) -> Floats:
        """Scores per KV head, [L, Hkv]: the sum over each group of consecutive query heads."""
        return group_scores(self.values, num_kv_heads)

    def require_model(
        self, name: str, *, num_layers: int | None = None, num_heads: int | None = None
    ) -> None:
        """Raise InputError if these are another model's scores, by recorded name or by given shape."""
        known = self.metadata.get("model")
        if known is not None and model_name(known) != model_name(name):
            raise InputError(f"scores of model {known!r} cannot serve {name!r}: score the heads of {name!r}")
        for asked, have, what in zip((num_layers, num_heads), self.values.shape, ("layers", "query heads")):
            if asked is not None and asked != have:
                raise InputError(
                    f"scores of {have} {what} cannot serve {name!r}, which has {asked}: score its heads"
                )

    def ranking(self) -> list[tuple[int, int]]:
        """(layer, head) from the highest score to the lowest; equal scores by layer, then head."""
        order = np.argsort(-self.values.ravel(), kind="stable")
        return [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, self.values.shape))]

    def sparsity_curve(self) -> tuple[Floats, Floats]:
        """(share of heads, share of the score they hold), best heads first: two [L * Hq]."""
        ordered = np.sort(self.values.ravel())[::-1]
        return np.arange(1, ordered.size + 1) / ordered.size, np.cumsum(ordered)

    def top_share(self, fraction: float) -> float:
        """Share of the score in the best `fraction` of the heads (0.05: the top 5 %, rounded up)."""
        return float(self.sparsity_curve()[1][_top_count(fraction, self.values.size) - 1])

    def agreement(
        self, other: HeadScores, *, top: float = 0.1, level: float = 0.95, draws: int = 1000, seed: int = 0
    ) -> Agreement:
        """Spearman correlation and shared part of the best `top` heads; intervals over both sides' images."""
        if self.values.shape != other.values.shape:
            raise InputError(
                f"scores of shapes {self.values.shape} and {other.values.shape} cannot be compared"
            )
        count = _top_count(top, self.values.size)
        sides = [self.values.reshape(1, -1), other.values.reshape(1, -1)]
        rank, overlap = _compare(sides[0], sides[1], count)
        if self.samples is None and other.samples is None:
            return Agreement(float(rank[0]), float(overlap[0]), None, None)
        for side, scores in enumerate((self, other)):
            if scores.samples is not None:  # seeds differ: the two probe runs are independent
                shares = _resampled_shares(scores.samples, draws=draws, seed=seed + side)
                sides[side] = shares.reshape(draws, -1)
        drawn = [interval(column, level=level) for column in _compare(sides[0], sides[1], count)]
        return Agreement(
            float(rank[0]), float(overlap[0]), *((float(low), float(high)) for low, high in drawn)
        )


def _normalised(values: Any) -> Floats:
    table = np.array(values, dtype=np.float64)
    if table.ndim != 2 or table.size == 0:
        raise InputError(f"scores: shape {table.shape} is not [layers, query heads]: give a 2-D table")
    if not np.isfinite(table).all() or (table < 0).any():
        raise InputError("scores: NaN, infinite or negative values: score the heads again")
    total = float(table.sum())
    if total == 0.0:
        raise InputError("scores: every head has score 0: no attention hit was counted, check the probe set")
    # A file that already sums to 1 keeps its bits, so that load and save give the same bytes.
    return table if abs(total - 1.0) < 1e-12 else table / total


def _resampled_shares(samples: HeadSamples, *, draws: int, seed: int) -> Floats:
    """Normalised scores of resampled probe sets, [draws, L, Hq]."""
    flat = samples.weights.reshape(len(samples.image_ids), -1)
    sums = np.concatenate([counts @ flat for counts in resample_counts(len(flat), draws=draws, seed=seed)])
    shares = sums / np.maximum(sums.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    table: Floats = shares.reshape(draws, *samples.weights.shape[1:])
    return table


def _top_count(fraction: float, size: int) -> int:
    if not 0.0 < fraction <= 1.0:
        raise InputError(f"fraction of heads is {fraction}: it must be above 0 and at most 1")
    return max(1, ceil(fraction * size - 1e-9))


def _compare(a: Floats, b: Floats, count: int) -> tuple[Floats, Floats]:
    """Spearman and top-`count` overlap of the rows of a and b, [draws, heads] (one row serves for all)."""
    rows = max(len(a), len(b))
    pairs = [(a[i % len(a)], b[i % len(b)]) for i in range(rows)]
    ranks = [spearman(x, y) for x, y in pairs]
    tops = [[set(np.argsort(-x, kind="stable")[:count].tolist()) for x in pair] for pair in pairs]
    return np.array(ranks), np.array([len(first & second) / count for first, second in tops])
