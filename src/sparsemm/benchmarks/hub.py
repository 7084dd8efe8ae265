"""The paper's eight benchmarks as plans: where their data are, how long answers get, what the metric is called.

A plan has a place in dry runs; it refuses to read rows, to ask and to score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from sparsemm.benchmarks.base import Row, Sample, shard_indices
from sparsemm.benchmarks.metric import Metric, RowMetric, RunMetric
from sparsemm.errors import InputError


@dataclass(frozen=True)
class HubBenchmark:
    """A planned benchmark.

    Attributes:
        dataset: id on the hub, with its configuration and split.
        whole_run: whether the metric needs the whole run (CIDEr, MMBench's groups) and not single rows.
        top: the metric's best value.
    """

    name: str
    metric: str
    max_new_tokens: int
    dataset: str
    config: str
    split: str
    whole_run: bool = False
    top: float = 1.0

    @property
    def rules(self) -> Mapping[str, Metric]:
        """Both rule sets, of the metric's kind; they refuse to score."""
        metric: Metric = RunMetric(self._score, self.top) if self.whole_run else RowMetric(self._score)
        return {"paper": metric, "current": metric}

    def load(self, count: int, seed: int, *, shard: int = 0, shards: int = 1) -> Iterator[Sample]:
        """Refuse when it is called, not when the first sample is asked for.

        Raises:
            InputError: always.
        """
        shard_indices(count, shard, shards)
        self._refuse(f"reading {self.dataset}")

    def prompt(self, row: Row, family: str = "", *, rules: str = "paper") -> str:
        """Refuse, as `load` does.

        Raises:
            InputError: always.
        """
        self._refuse(f"asking about rows of {self.dataset}")

    def _score(self, rows: Any, predictions: Any) -> NoReturn:
        self._refuse(f"scoring by {self.metric}")

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(
            f"benchmarks.{self.name}: {what} comes with a later version; this one plans the benchmark "
            f"(dry run) but cannot run it: use synth-docvqa, synth-ocr or synth-chart"
        )


DOCVQA = HubBenchmark("docvqa", "ANLS", 32, "lmms-lab/DocVQA", "DocVQA", "validation")
OCRBENCH = HubBenchmark("ocrbench", "accuracy", 128, "echo840/OCRBench", "default", "test")
TEXTVQA = HubBenchmark("textvqa", "VQA accuracy", 16, "lmms-lab/textvqa", "default", "validation")
CHARTQA = HubBenchmark("chartqa", "relaxed accuracy", 16, "lmms-lab/ChartQA", "default", "test")
TEXTCAPS = HubBenchmark(
    "textcaps", "CIDEr", 64, "lmms-lab/TextCaps", "default", "val", whole_run=True, top=10.0
)
MMBENCH = HubBenchmark("mmbench", "accuracy", 16, "lmms-lab/MMBench", "en", "dev", whole_run=True)
# GQA keeps questions and images in two configurations; they join on imageId = id.
GQA = HubBenchmark(
    "gqa",
    "accuracy",
    16,
    "lmms-lab/GQA",
    "testdev_balanced_instructions+testdev_balanced_images",
    "testdev",
)
VQAV2 = HubBenchmark("vqav2", "VQA accuracy", 16, "lmms-lab/VQAv2", "default", "validation")
