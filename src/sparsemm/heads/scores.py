"""HeadScores: the visual scores of a model's heads, to load, save, group per KV head, rank and compare."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsemm.budget.allocation import group_scores
from sparsemm.budget.published import read_published
from sparsemm.errors import InputError
from sparsemm.heads import score_files
from sparsemm.heads.agreement import Agreement, agreement_of
from sparsemm.heads.samples import Counts, Floats, HeadSamples, normalised, resampled_scores
from sparsemm.heads.score_files import SAMPLES_FILE, SCORES_FILE
from sparsemm.results.provenance import model_name
from sparsemm.stats import interval

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class HeadScores:
    """Visual scores of all query heads (paper, section 3.2).

    Attributes:
        values: float64 [L, Hq], non-negative, brought to sum 1.
        hits: int64 [L, Hq], or None if unknown.
        matched: generated tokens that were matched to a word, over all images; 0 if unknown.
        ci_low, ci_high: float64 [L, Hq], bootstrap interval of the values over the images, or None.
        samples: results per image, or None.
        num_kv_heads: of the model, or None.
        metadata: model, probe set, rules, as in the result file.

    Raises:
        InputError: values that are no table, negative, not finite or all 0; KV heads that do not divide Hq.
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
        object.__setattr__(self, "values", normalised(self.values))
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
        """Scores from the results per image, with bootstrap intervals over the images.

        A head's score is its share of the weights of all images. The paper divides by the matched tokens, the
        released code by the images: after normalisation both give this.

        Args:
            level: of the intervals.
            draws: bootstrap resamples.
            seed: of the bootstrap.

        Raises:
            InputError: no head hit on any image.
        """
        if not samples.image_ids or not samples.weights.any():
            raise InputError("scores: no attention hit on any probe image: check the probe set and its boxes")
        low, high = interval(resampled_scores(samples, draws=draws, seed=seed), level=level)
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
    def uniform(
        cls, samples: HeadSamples, *, num_kv_heads: int | None = None, metadata: dict[str, Any] | None = None
    ) -> HeadScores:
        """The same score for every head, for results per image without a hit; the intervals have no width."""
        same = normalised(np.ones(samples.weights.shape[1:]))
        return cls(
            values=same,
            hits=samples.hits.sum(axis=0),
            matched=int(samples.matched.sum()),
            ci_low=same,
            ci_high=same,
            samples=samples,
            num_kv_heads=num_kv_heads,
            metadata=dict(metadata or {}),
        )

    @classmethod
    def load(cls, path: str | Path, *, samples: str | Path | None = None) -> HeadScores:
        """Read our parquet or the published JSON, {"layer-head": [value, ...]} (the mean of each list counts).

        Args:
            samples: the per-image file, which `agreement` needs for intervals.

        Raises:
            InputError: naming the file and what is wrong with it.
        """
        path = Path(path)
        try:
            if path.suffix == ".json":
                return cls(values=read_published(path))
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
        """Write parquet, or the published format for a name that ends in .json.

        In the parquet, a head whose interval is unknown gets its score as both ends.

        Args:
            samples: also write the per-image file, under this name.

        Raises:
            InputError: no results per image to write, or a file that cannot be written.
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
        """Write head_scores.parquet, and the per-image file if it is known, into a folder; made if missing.

        The folder may be the model's own: `from_pretrained` and the command line look there.

        Returns:
            The path of the scores.
        """
        path = Path(folder) / SCORES_FILE
        rows = path.with_name(SAMPLES_FILE)
        self.save(path, samples=None if self.samples is None else rows)
        if self.samples is None:
            rows.unlink(missing_ok=True)  # left by other scores
        return path

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, model: str | None = None) -> HeadScores:
        """Read what `save_pretrained` wrote.

        Args:
            model: name of the model that the scores must be for; None accepts any.

        Raises:
            InputError: a folder without scores, or scores of another model.
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
        """One row per head, in the columns of the result kind `scores`."""
        return score_files.heads_frame(
            self.values,
            self.values if self.ci_low is None else self.ci_low,
            self.values if self.ci_high is None else self.ci_high,
            np.zeros(self.values.shape, np.int64) if self.hits is None else self.hits,
            self.matched,
            self.num_kv_heads or self.values.shape[1],
        )

    def per_kv_head(self, num_kv_heads: int) -> Floats:
        """Scores per KV head [L, Hkv]: the sum over each GQA group of consecutive query heads."""
        return group_scores(self.values, num_kv_heads)

    def require_model(
        self, name: str, *, num_layers: int | None = None, num_heads: int | None = None
    ) -> None:
        """Check that the scores are this model's.

        Raises:
            InputError: the recorded model has another name, or the scores have another shape.
        """
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
        """Spearman correlation, and overlap of the best heads, with another ranking of the same model's heads.

        Args:
            top: share of the heads that count as best.
            level: of the bootstrap intervals over both sides' images.
            draws: of the bootstrap.
            seed: of its draws.

        Raises:
            InputError: scores of other shapes, or a share outside (0, 1].
        """
        if self.values.shape != other.values.shape:
            raise InputError(
                f"scores of shapes {self.values.shape} and {other.values.shape} cannot be compared"
            )
        count = _top_count(top, self.values.size)
        point = (self.values.reshape(1, -1), other.values.reshape(1, -1))
        resampled = None
        if self.samples is not None or other.samples is not None:
            # The two probe runs are independent, so their seeds differ.
            resampled = (self._resampled(draws, seed), other._resampled(draws, seed + 1))
        return agreement_of(point, resampled, count, level)

    def _resampled(self, draws: int, seed: int) -> Floats:
        """Scores of resampled probe sets, [draws, heads]; the scores themselves, [1, heads], without hits in them."""
        if self.samples is None or not self.samples.weights.any():
            return self.values.reshape(1, -1)
        return resampled_scores(self.samples, draws=draws, seed=seed).reshape(draws, -1)


def _top_count(fraction: float, size: int) -> int:
    """Heads in the best ``fraction`` of ``size``, rounded up, at least 1."""
    if not 0.0 < fraction <= 1.0:
        raise InputError(f"fraction of heads is {fraction}: it must be above 0 and at most 1")
    return max(1, ceil(fraction * size - 1e-9))
