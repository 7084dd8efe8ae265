"""Made-up results whose truth is known, as the evidence that claims are judged on. Nothing is written to files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sparsemm.reporting.claims.evidence import Cells, Evidence, Resampled

MODEL, BENCHMARK = "made-up", "synth"
PROMPT = 400


class MadeUp(Evidence):
    """Evidence from frames.

    Args:
        cells: benchmark to `(policy, budget) -> scores [samples]`.
        masks: benchmark to `(kind, fraction, seed) -> scores [samples]`.
        images: of the samples; None: one each.
        weights: of the probe images, [images, heads].
        scores: probe set ("" for the run's own) to scores and their standard deviation [heads] each.
        times: policy to (tokens, milliseconds).
        mha: whether each head has its own KV head.
        draws: of the bootstrap.
    """

    def __init__(
        self,
        *,
        cells: Mapping[str, Mapping[tuple[str, int], Any]] | None = None,
        masks: Mapping[str, Mapping[tuple[str, float, int], Any]] | None = None,
        images: list[str] | None = None,
        weights: Any = None,
        scores: Mapping[str, tuple[Any, Any]] | None = None,
        times: Mapping[str, tuple[Any, Any]] | None = None,
        mha: bool = True,
        draws: int = 1000,
    ) -> None:
        super().__init__(draws=draws)
        self.given_cells, self.given_masks, self.given_times = cells or {}, masks or {}, times or {}
        self.images, self.given_weights, self.given_scores, self.mha = images, weights, scores or {}, mha

    @property
    def models(self) -> list[str]:  # type: ignore[override]
        return [MODEL]

    def benchmarks(self, model: str) -> list[str]:
        return list(self.given_cells)

    def cells(self, model: str, benchmark: str) -> Cells:
        matrix = pd.DataFrame(dict(self.given_cells[benchmark]))
        kept = {(policy, budget): float(budget or PROMPT) for policy, budget in matrix.columns}
        images = self._images(len(matrix))
        return Cells(
            matrix, images, benchmark=benchmark, prompt_tokens=float(PROMPT), kept=kept, draws=self.draws
        )

    def masks(self, model: str) -> dict[str, Resampled]:
        found = {}
        for benchmark, runs in self.given_masks.items():
            matrix = pd.DataFrame(dict(runs))
            found[benchmark] = Resampled(matrix, self._images(len(matrix)), name=benchmark, draws=self.draws)
        return found

    def weights(self, model: str) -> Any:
        return self.given_weights

    def scores(self, model: str, probe: str = "") -> pd.DataFrame | None:
        if probe not in self.given_scores:
            return None
        values, spread = (np.asarray(given) for given in self.given_scores[probe])
        heads = np.arange(len(values))
        ends = {"ci_low": values - 1.96 * spread, "ci_high": values + 1.96 * spread}
        return pd.DataFrame(
            {"head": heads, "kv_head": heads if self.mha else heads // 2, "score": values} | ends
        )

    def sets(self, model: str) -> list[str]:
        return [name for name in self.given_scores if name]

    def efficiency(self, model: str) -> pd.DataFrame:
        frames = [
            pd.DataFrame({"policy": policy, "input_tokens": tokens, "decode_ms_per_token": values})
            for policy, (tokens, values) in self.given_times.items()
        ]
        return pd.concat(frames) if frames else pd.DataFrame(columns=["policy"])

    def is_mha(self, model: str) -> bool:
        return self.mha

    def _images(self, samples: int) -> list[str]:
        return self.images or [str(index) for index in range(samples)]


def answers(
    rng: np.random.Generator, count: int, levels: Mapping[Any, float], *, noise: float = 0.3
) -> dict[Any, Any]:
    """Right or wrong answers (1.0, 0.0) of cells that are right with these probabilities and agree on easy samples.

    Args:
        rng: draws them.
        count: samples.
        levels: cell to its probability of a right answer.
        noise: share of a cell's answers that do not depend on how easy a sample is.
    """
    ease = rng.uniform(size=count)
    found = {}
    for key, level in levels.items():
        own = np.where(rng.uniform(size=count) < noise, rng.uniform(size=count), ease)
        found[key] = (own < level).astype(float)
    return found
