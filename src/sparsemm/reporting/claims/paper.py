"""The paper's number for each claim, of the same model and benchmark, else of the model that is most like ours.

A run's model that is not in the paper is set beside LLaVA-NeXT-Vicuna (MHA), LLaVA-NeXT-Mistral (GQA) or Qwen2-VL; on a
benchmark that is not in the paper, the number is taken over table 5's benchmarks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from sparsemm.reporting import paper_values
from sparsemm.reporting.claims.thresholds import LOW_BUDGET, NEAR, PAPER_TOP_SHARES, RHO
from sparsemm.reporting.paper_values import MISTRAL, QWEN, VICUNA, in_paper, paper_name

Value = tuple[float, str]  # the number, and what it is of
NONE: Value = (float("nan"), "")  # the paper prints no such number


class Paper:
    """The paper's numbers beside those of one of the run's models.

    Args:
        files: those of data/paper by name; none: no number is known.
        model: of the run.
        mha: whether it has MHA; None where that is not known.

    Attributes:
        model: the paper's model that is compared with.
    """

    def __init__(self, files: Mapping[str, Path], model: str, mha: bool | None) -> None:
        self._files = files
        if in_paper(model):
            self.model = paper_name(model)
        elif "qwen" in model:
            self.model = QWEN
        else:
            self.model = MISTRAL if mha is False else VICUNA

    def top_share(self, share: float) -> Value:
        """What the best heads hold of the score: known of Vicuna's alone."""
        return (PAPER_TOP_SHARES[share], VICUNA) if self._files else NONE

    def difference(
        self, first: str, others: Sequence[str], benchmark: str, *, largest: bool = False
    ) -> Value:
        """The least difference of a method and the others at the low budgets; `largest`: the one furthest from 0."""
        if "accuracy" not in self._files:
            return NONE
        table, where = self._low(benchmark)
        if table.empty:
            return NONE
        found = np.concatenate([(table[first] - table[other]).dropna().to_numpy() for other in others])
        return (float(found[np.abs(found).argmax()] if largest else found.min()), where)

    def rho(self, end: float) -> Value:
        """Table 3: the score at the default rho minus that at `end`."""
        path = self._files.get("table3_rho_ablation_ocrbench_budget256")
        if path is None:
            return NONE
        table = paper_values.rho_sweep(path)
        scores = table[table["paper_model"] == self.model].set_index("rho")["paper_score"]
        return float(scores[RHO] - scores[end]), f"{self.model}, ocrbench at 256"

    def parts(self, first: str, second: str) -> Value:
        """Table 4: the mean difference of two labels over the budgets."""
        path = self._files.get("table4_component_ablation_mmbench_qwen2vl")
        if path is None:
            return NONE
        table = paper_values.parts(path).pivot(index="budget", columns="policy", values="paper_score")
        return float((table[first] - table[second]).mean()), f"{QWEN}, mmbench"

    def growth(self, policy: str) -> Value:
        """Figure 6: growth of the decode latency from 2K to 32K tokens, by a line through its points."""
        path = self._files.get("figure6_efficiency")
        if path is None:
            return NONE
        table = paper_values.efficiency(path)
        own = table[(table["paper_model"] == self.model) & (table["policy"] == policy)]
        slope, start = np.polyfit(own["input_tokens"], own["decode_ms_per_token"], 1)
        least, most = own["input_tokens"].min(), own["input_tokens"].max()
        return float(slope * (most - least) / (start + slope * least)), f"{self.model}, 2K to 32K"

    def quality(self, share: float, benchmark: str) -> Value:
        """Share of the quality at the budget nearest to a share of the prompt; the mean over benchmarks of table 5.

        The full cache's score is not in table 5: the best score at its largest budget, 2,048, stands for it.
        """
        if "accuracy" not in self._files:
            return NONE
        table, where = self._scores(benchmark)
        found = []
        for name, tokens in self._tokens.items():
            if table.empty or name not in table.index.get_level_values("benchmark"):
                continue
            own = table.loc[name]
            budget = min(own.index, key=lambda value: abs(np.log(value / tokens / share)))
            if max(budget / tokens / share, share * tokens / budget) <= NEAR:
                found.append(own.loc[budget, "sparsemm"] / own.loc[own.index.max()].max())
        return (float(np.mean(found)), where) if found else NONE

    @cached_property
    def _table(self) -> pd.DataFrame:
        table = paper_values.accuracy(self._files["accuracy"])
        return table[table["paper_model"] == self.model]

    @cached_property
    def _tokens(self) -> dict[str, float]:
        """Mean input tokens by benchmark (table 1)."""
        path = self._files.get("table1_input_tokens")
        if path is None:
            return {}
        table = paper_values.input_tokens(path)
        own = table[table["paper_model"] == self.model]
        return dict(zip(own["benchmark"], own["paper_mean_input_tokens"]))

    def _scores(self, benchmark: str) -> tuple[pd.DataFrame, str]:
        """Scores by (benchmark, budget) and method: of this benchmark, or of all of table 5."""
        table = self._table
        same = table[table["benchmark"] == benchmark]
        table = same if len(same) else table[table["table"] == 5]
        wide = table.pivot_table(index=["benchmark", "budget"], columns="policy", values="paper_score")
        return wide, f"{self.model}, {benchmark if len(same) else 'table 5'}"

    def _low(self, benchmark: str) -> tuple[pd.DataFrame, str]:
        wide, where = self._scores(benchmark)
        tokens = [self._tokens.get(name, np.nan) for name in wide.index.get_level_values("benchmark")]
        low = wide.index.get_level_values("budget") <= LOW_BUDGET * np.asarray(tokens) * (1 + 1e-9)
        return wide[low], where
