"""The paper's eight benchmarks by name: where their data live, how they are asked, how they are scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sparsemm.benchmarks.base import Sample, shard_indices
from sparsemm.errors import InputError

_SHORT = "\nAnswer the question using a single word or phrase."


@dataclass(frozen=True)
class HubBenchmark:
    """The facts of one hub benchmark; ``suffix`` follows the question, ``fixed_prompt`` replaces it."""

    name: str
    dataset: str
    config: str
    split: str
    max_new_tokens: int
    metric: str
    suffix: str = ""
    fixed_prompt: str = ""

    def load(self, count: int, seed: int, *, shard: int = 0, shards: int = 1) -> Iterator[Sample]:
        """Refuse: this version plans hub benchmarks but does not read them.

        Raises:
            InputError: always.
        """
        shard_indices(count, shard, shards)
        raise InputError(
            f"benchmarks.{self.name}: reading {self.dataset} comes with a later version; this one plans the benchmark "
            f"(dry run) but cannot run it: use synth-docvqa, synth-ocr or synth-chart"
        )

    def score(self, prediction: str, sample: Sample) -> float:
        """Refuse, as `load` does.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"benchmarks.{self.name}: scoring by {self.metric} comes with the adapter in a later version"
        )


HUB_BENCHMARKS = (
    HubBenchmark("docvqa", "lmms-lab/DocVQA", "DocVQA", "validation", 32, "ANLS", _SHORT),
    HubBenchmark("ocrbench", "echo840/OCRBench", "default", "test", 128, "accuracy"),
    HubBenchmark("textvqa", "lmms-lab/textvqa", "default", "validation", 16, "VQA accuracy", _SHORT),
    HubBenchmark(
        "chartqa",
        "lmms-lab/ChartQA",
        "default",
        "test",
        16,
        "relaxed accuracy",
        "\nAnswer the question with a single word.",
    ),
    HubBenchmark(
        "textcaps",
        "lmms-lab/TextCaps",
        "default",
        "val",
        64,
        "CIDEr",
        fixed_prompt="Provide a one-sentence caption for the provided image.",
    ),
    HubBenchmark(
        "mmbench",
        "lmms-lab/MMBench",
        "en",
        "dev",
        16,
        "accuracy",
        "\nAnswer with the option's letter from the given choices directly.",
    ),
    # GQA keeps questions and images in two configurations; they join on imageId = id.
    HubBenchmark(
        "gqa",
        "lmms-lab/GQA",
        "testdev_balanced_instructions+testdev_balanced_images",
        "testdev",
        16,
        "accuracy",
        _SHORT,
    ),
    HubBenchmark("vqav2", "lmms-lab/VQAv2", "default", "validation", 16, "VQA accuracy", _SHORT),
)
