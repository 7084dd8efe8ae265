"""Many questions an image, shards, batches that do not fit, images that cannot be decoded, answers that are cut."""

from __future__ import annotations

import dataclasses
import io
import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sparsemm.benchmarks import EncodedImage, Generation, Metric, RowMetric, Sample
from sparsemm.errors import InputError
from sparsemm.evaluation.batches import batches, cut
from sparsemm.evaluation.evaluate import evaluate, make_cells
from sparsemm.evaluation.images import ImageMemory, image_memory
from sparsemm.evaluation.masking import Masking, evaluate_masks
from sparsemm.evaluation.settings import RunSettings, run_facts, work_facts
from sparsemm.models.loading import Loaded, build_inputs
from sparsemm.results.parquet import read_table, write_table

from helpers import tiny
from helpers.tiny_families import tiny_family

SIZES = [(60, 40), (24, 64), (64, 64), (40, 60), (60, 40)]
QUESTIONS = ["Read line 1.", "What is the date?", "Who?"]
CELLS = make_cells([("fullkv", 0), ("snapkv", 12), ("local_window", 8)], window=4, kernel=5)


@dataclasses.dataclass(frozen=True)
class Asked:
    """Three questions about each of five images, interleaved as in a data set that is sorted by question."""

    broken: tuple[int, ...] = ()
    until: tuple[str, ...] = ()
    name: str = "asked"
    metric: str = "accuracy"

    @property
    def rules(self) -> Mapping[str, Metric]:
        return {
            "paper": RowMetric(lambda row, text: len(text) / 100),
            "current": RowMetric(lambda row, text: 0.5),
        }

    def generation(self, family: str) -> Generation:
        return Generation(6, self.until)

    def load(self, count: int | None, seed: int, *, shard: int = 0, shards: int = 1) -> Iterator[Sample]:
        for number in range(len(SIZES) * len(QUESTIONS)):
            picture = number % len(SIZES)
            if picture * shards // len(SIZES) != shard:  # an image's questions are in one shard
                continue
            image = EncodedImage.of(f"image {picture}", tiny.image(*SIZES[picture], seed=picture))
            if picture in self.broken:
                data = image.read()
                image = EncodedImage(f"image {picture}", io.BytesIO(data[: len(data) // 2]).getvalue)
            row = {"question": QUESTIONS[number // len(SIZES)]}
            yield Sample(f"asked-{number:03d}", f"image-{picture}", ("a",), row, image)

    def prompt(self, row: Mapping[str, Any], family: str = "", *, rules: str = "paper") -> str:
        return str(row["question"])


def loaded(name: str = "qwen2_vl") -> Loaded:
    model, processor = tiny_family(name)
    return Loaded(model, processor, name.partition("-")[0], "tiny", "0")


def run(benchmark: Asked, size: int = 3, shards: int = 1, name: str = "qwen2_vl") -> pd.DataFrame:
    settings = RunSettings(batch_size=size, progress=False)
    parts = [
        evaluate(
            loaded(name), benchmark, benchmark.load(None, 0, shard=shard, shards=shards), CELLS, settings
        )
        for shard in range(shards)
    ]
    return pd.concat(parts).sort_values(["sample_id", "policy", "budget"], ignore_index=True)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "llava_next-llama", "llava_onevision"])
def test_an_encoded_image_stands_in_for_its_pixels(name: str) -> None:
    samples = list(Asked().load(None, 0))
    model = loaded(name)
    memory = image_memory(model, samples)
    assert isinstance(memory, ImageMemory)
    batch = [samples[0], samples[1], samples[5]]
    prompts = [Asked().prompt(sample.data) for sample in batch]
    readable, broken = memory.encode(batch)
    assert (readable, broken) == (batch, [])
    found = memory.inputs(batch, prompts)
    wanted = build_inputs(model, [sample.image.open() for sample in batch], prompts)
    assert set(found) == set(wanted) - {"pixel_values"} | {"mm_encoder_outputs"}
    for key in set(found) & set(wanted):
        assert torch.equal(found[key], wanted[key]), key
        assert found[key].dtype == wanted[key].dtype
    with torch.no_grad():
        torch.testing.assert_close(
            model.model(**found).logits, model.model(**wanted).logits, rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("name", ["qwen2_vl", "llava_next-mistral"])
def test_answers_depend_neither_on_shards_nor_on_batches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(Asked(), 3, 1, name)
    assert len(whole) == 15 * len(CELLS)
    assert whole.prediction.nunique() > 15
    for size, shards in ((1, 1), (15, 1), (3, 2), (1, 3), (3, 3)):
        pd.testing.assert_frame_equal(run(Asked(), size, shards, name), whole, check_exact=True)
    monkeypatch.setattr("sparsemm.evaluation.evaluate.image_memory", lambda *_: None)
    pd.testing.assert_frame_equal(run(Asked(), 3, 1, name), whole, check_exact=True)


def test_an_image_is_decoded_and_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, opened, towers = loaded("qwen2_vl"), Counter[str](), []
    real = EncodedImage.open
    monkeypatch.setattr(EncodedImage, "open", lambda image: opened.update([image.name]) or real(image))
    hook = model.model.model.visual.register_forward_hook(lambda *_: towers.append(1))
    for size in (1, 2, 4):
        opened.clear(), towers.clear()
        run(Asked(), size)
        assert opened == {f"image {number}": 1 for number in range(5)}
        assert len(towers) == 5
    towers.clear()
    benchmark = Asked()
    samples = list(benchmark.load(None, 0))[:5]
    text = model.model.config.get_text_config()
    masking = Masking(np.ones((text.num_hidden_layers, text.num_attention_heads)), [0.2, 0.5], [0])
    frames = [
        evaluate_masks(model, benchmark, samples, masking, RunSettings(size, progress=False))
        for size in (1, 3)
    ]
    hook.remove()
    assert len(towers) == 5 + 2 * 5  # a batch size above 1: for each of two batches and five masks
    assert frames[0].equals(frames[1])


def test_questions_about_an_image_are_side_by_side() -> None:
    samples = list(Asked().load(None, 0))
    order = [sample.image_id for batch in batches(samples, 4) for sample in batch]
    assert len(order) == 15
    assert sum(a != b for a, b in itertools.pairwise(order)) == 4


def out_of_memory_above(rows: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tiny model's forward fails above so many rows; the list is of the sizes that it was asked for."""
    import sparsemm.evaluation.batches as module

    real, asked = module.run_cells, []

    def run_cells(model: Any, inputs: Any, policies: Any, **options: Any) -> Any:
        asked.append(len(inputs["input_ids"]))
        if asked[-1] > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(model, inputs, policies, **options)

    monkeypatch.setattr(module, "run_cells", run_cells)
    return asked


def test_out_of_memory_halves_the_batch_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = run(Asked(), 7)
    asked = out_of_memory_above(2, monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert run(Asked(), 7).equals(whole)
    assert asked == [7, 3, 1] + [1] * 14
    assert [record.getMessage() for record in caplog.records] == [
        "out of GPU memory with 7 samples: going on with 3 at once",
        "out of GPU memory with 3 samples: going on with 1 at once",
    ]
    out_of_memory_above(0, monkeypatch)
    with pytest.raises(InputError, match="asked-001: out of GPU memory with this sample alone; use a GPU"):
        run(Asked(), 2)


@pytest.mark.parametrize("name", ["qwen2_vl", "internvl"])
def test_an_image_that_cannot_be_decoded_is_left_out_and_told(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, benchmark = run(Asked(), 3, name=name), Asked(broken=(1,))
    settings = RunSettings(batch_size=1, progress=False, workdir=tmp_path / "work")
    for _ in range(2):  # the second time from the stored batches
        caplog.clear()
        frame = evaluate(loaded(name), benchmark, benchmark.load(None, 0), CELLS, settings)
        lost = ["asked-001", "asked-006", "asked-011"]
        assert frame.attrs["unreadable"] == lost
        told = [f"{sample}: its image cannot be decoded; the row is left out" for sample in lost]
        assert [record.getMessage() for record in caplog.records] == told
        assert frame.equals(whole[~whole.sample_id.isin(lost)].reset_index(drop=True))


def test_a_shard_without_samples_is_an_empty_file(tmp_path: Path) -> None:
    nothing = Asked(broken=(0, 1, 2, 3, 4))
    for samples in ([], nothing.load(None, 0)):
        frame = evaluate(loaded(), nothing, samples, CELLS, RunSettings(progress=False))
        write_table(tmp_path / "0.parquet", frame, "predictions", {})
        assert len(read_table(tmp_path / "0.parquet", "predictions")) == 0
    facts = run_facts(loaded(), nothing, [], RunSettings())
    assert facts["prompt_example"] is None
    masking = Masking(np.ones((3, 4)), [0.5], [0])
    with pytest.raises(InputError, match=r"masking\.samples"):
        evaluate_masks(loaded(), nothing, [], masking)


def test_answers_are_cut_at_the_first_stop_string() -> None:
    assert cut("a b\n\nc\n\nd", ("\n\n",)) == "a b"
    assert cut("yes ASSISTANT: no\n\n", ("\n\n", "ASSISTANT:")) == "yes "
    assert cut("abc", ()) == cut("abc", ("x",)) == "abc"
    whole = run(Asked())
    letter = Counter("".join(whole.prediction)).most_common(1)[0][0]
    short = run(Asked(until=(letter,)))
    assert short.prediction.tolist() == [text.partition(letter)[0].strip() for text in whole.prediction]
    assert short.score_paper.tolist() == [len(text) / 100 for text in short.prediction]
    assert (short.score_current == 0.5).all()


def test_what_decides_answers_decides_whether_batches_are_used_again() -> None:
    model, benchmark = loaded(), Asked()
    samples = list(benchmark.load(None, 0))
    facts = work_facts(model, benchmark, samples, RunSettings())
    assert facts == work_facts(loaded(), Asked(), list(Asked().load(None, 0)), RunSettings())
    assert facts["prompt_example"] == (
        "<s>USER: <|vision_start|><|image_pad|><|vision_end|>Read line 1. ASSISTANT:"
    )
    assert facts["generation"] == {}
    model.model.generation_config.repetition_penalty = 1.2
    try:
        for settings in (RunSettings(), RunSettings(generation="plain"), RunSettings(max_new_tokens=3)):
            other = work_facts(model, benchmark, samples, settings)
            assert (other == facts) == (settings.generation == "plain")
    finally:
        model.model.generation_config.repetition_penalty = None
    assert work_facts(model, Asked(until=("x",)), samples, RunSettings()) != facts
    assert (
        work_facts(model, Asked(broken=(0,)), list(Asked(broken=(0,)).load(None, 0)), RunSettings()) != facts
    )
