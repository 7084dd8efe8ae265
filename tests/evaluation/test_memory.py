"""Evaluation holds at most one batch of decoded images, and none while the model runs."""

from __future__ import annotations

import io
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

import sparsemm.evaluation.batches as batches
from sparsemm.benchmarks import EncodedImage, Generation, Metric, RowMetric, Sample
from sparsemm.evaluation.engine.decode import Counts
from sparsemm.evaluation.engine.run import EngineOutput
from sparsemm.evaluation.evaluate import evaluate, make_cells
from sparsemm.evaluation.masking import Masking, evaluate_masks
from sparsemm.evaluation.settings import RunSettings
from sparsemm.models.loading import Loaded

from helpers import tiny

PAGES, SIZE, BATCH = 200, (1700, 2000), 4


@dataclass
class Count:
    """Decoded images that are alive, the most at once, and how often one was decoded."""

    alive: int = 0
    most: int = 0
    opened: int = 0

    def took(self, image: Image.Image) -> Image.Image:
        self.alive, self.opened = self.alive + 1, self.opened + 1
        self.most = max(self.most, self.alive)
        weakref.finalize(image, self.gave)
        return image

    def gave(self) -> None:
        self.alive -= 1


@dataclass(frozen=True)
class Page:
    """An encoded page whose decoded images are counted."""

    encoded: EncodedImage
    count: Count

    @property
    def size(self) -> tuple[int, int]:
        return self.encoded.size

    @property
    def digest(self) -> str:
        return self.encoded.digest

    def open(self) -> Image.Image:
        return self.count.took(self.encoded.open())


@dataclass(frozen=True)
class Pages:
    """200 scanned pages as DocVQA has them; the files are encoded once and read when they are needed."""

    count: Count = field(default_factory=Count)
    name: str = "pages"
    metric: str = "accuracy"

    @property
    def rules(self) -> Mapping[str, Metric]:
        return {"paper": RowMetric(lambda row, text: float(text == row["answer"]))}

    def generation(self, family: str) -> Generation:
        return Generation(2)

    def load(self, count: int, seed: int, *, shard: int = 0, shards: int = 1) -> Iterator[Sample]:
        files = [page_file(number) for number in range(4)]
        for index in range(count):
            own = f"page-{index:04d}"
            image = Page(EncodedImage(own, lambda index=index: files[index % 4]), self.count)
            yield Sample(own, own, ("a",), {"answer": "a"}, image)

    def prompt(self, row: Mapping[str, Any], family: str = "", *, rules: str = "paper") -> str:
        return "?"


def page_file(number: int) -> bytes:
    page = Image.new("1", SIZE, 1)  # black and white decodes fastest
    ImageDraw.Draw(page).rectangle((100, 100, 1500, 200 + number), fill=0)
    stream = io.BytesIO()
    page.save(stream, format="PNG")
    return stream.getvalue()


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Pages:
    """The made-up benchmark, with a processor and an engine that take no time and look at the images alive."""
    made = Pages()

    def build_inputs(
        loaded: Loaded, images: Sequence[Image.Image], prompts: Sequence[str], device: Any
    ) -> Any:
        assert [image.size for image in images] == [SIZE] * len(prompts)
        assert len(images) == made.count.alive <= BATCH
        return {"input_ids": torch.zeros(len(prompts), 3, dtype=torch.int64)}

    def run_cells(model: Any, inputs: Any, policies: Sequence[Any], **_: Any) -> EngineOutput:
        assert made.count.alive == 0  # nothing decoded waits for the model
        samples = len(inputs["input_ids"])
        kept = torch.ones(len(policies), samples, tiny.LAYERS, tiny.HEADS, dtype=torch.int64)
        tokens = [[[5 + tiny.CHARACTERS.index("a")]] * samples for _ in policies]
        return EngineOutput(tokens, kept, torch.full((samples,), 3), samples, Counts())

    monkeypatch.setattr(batches, "build_inputs", build_inputs)
    monkeypatch.setattr(batches, "run_cells", run_cells)
    return made


def loaded() -> Loaded:
    return Loaded(tiny.model("mha"), tiny.processor(), "llava_next", "tiny", "0")


def test_a_shard_of_large_pages_holds_one_batch_of_them(pages: Pages, tmp_path: Any) -> None:
    settings = RunSettings(batch_size=BATCH, workdir=tmp_path, progress=False)
    cells = make_cells([("fullkv", 0), ("snapkv", 12)], window=4)
    frame = evaluate(loaded(), pages, pages.load(PAGES, 0), cells, settings)
    assert len(frame) == 2 * PAGES
    assert (frame.score == 1.0).all()
    # 200 decoded pages of 13.6 MB would be 2.7 GB; the buckets and the fingerprint of the run needed none of them.
    assert (pages.count.most, pages.count.alive, pages.count.opened) == (BATCH, 0, PAGES)
    evaluate(loaded(), pages, pages.load(PAGES, 0), cells, settings)
    assert pages.count.opened == PAGES  # a resumed run decodes nothing


def test_masked_runs_hold_one_batch_too(pages: Pages) -> None:
    masking = Masking(torch.rand(tiny.LAYERS, tiny.HEADS).numpy(), [0.2], [0])
    frame = evaluate_masks(
        loaded(), pages, pages.load(10, 0), masking, RunSettings(batch_size=BATCH, progress=False)
    )
    assert len(frame) == 3 * 10
    assert (pages.count.most, pages.count.alive, pages.count.opened) == (BATCH, 0, 3 * 10)
