"""Masked runs: which heads, and that masking them is what `mask_heads` does to a plain run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sparsemm.benchmarks import get_benchmark, score_rows
from sparsemm.errors import InputError
from sparsemm.evaluation.masking import Masking, evaluate_masks, make_masks
from sparsemm.evaluation.settings import RunSettings
from sparsemm.models.head_masks import mask_heads
from sparsemm.models.loading import Loaded, build_inputs
from sparsemm.results.parquet import write_table

from helpers import tiny

SCORES = np.arange(tiny.LAYERS * tiny.HEADS, dtype=float).reshape(tiny.LAYERS, tiny.HEADS)


def test_masks_are_the_best_heads_and_as_many_random_ones() -> None:
    masks = make_masks(SCORES, [0.1, 0.5], [3, 4])
    assert [mask[:3] for mask in masks] == [
        ("none", 0.0, 0),
        ("visual", 0.1, 0),
        ("random", 0.1, 3),
        ("random", 0.1, 4),
        ("visual", 0.5, 0),
        ("random", 0.5, 3),
        ("random", 0.5, 4),
    ]
    assert masks[1].heads == ((2, 4), (2, 5))
    assert [len(mask.heads) for mask in masks] == [0, 2, 2, 2, 9, 9, 9]
    assert set(masks[2].heads) <= set(masks[5].heads)
    assert masks[2].heads != masks[3].heads
    assert make_masks(SCORES, [0.001], [])[1].heads == ((2, 5),)


@pytest.mark.parametrize("how", ["output", "released"])
def test_masked_answers_are_those_of_a_masked_generate(tmp_path: Path, how: str) -> None:
    loaded = Loaded(tiny.model("mha"), tiny.processor(), "llava_next", "tiny", "0")
    benchmark = get_benchmark("synth-docvqa", max_new_tokens=5)
    samples = list(benchmark.load(3, seed=0))
    scores = SCORES / SCORES.sum()
    masking, settings = Masking(scores, [0.2], [1], how), RunSettings(batch_size=2, progress=False)
    frame = evaluate_masks(loaded, benchmark, samples, masking, settings)
    write_table(tmp_path / "masks.parquet", frame, "masks", {})
    assert len(frame) == 3 * 3
    for mask in make_masks(scores, [0.2], [1]):
        rows = frame[frame.kind == mask.kind].set_index("sample_id")
        for sample in samples:
            inputs = build_inputs(loaded, [sample.image.open()], [benchmark.prompt(sample.data)], "cpu")
            with mask_heads(loaded.model, mask.heads, how=how):
                out = loaded.model.generate(**inputs, max_new_tokens=5, do_sample=False)
            new = out[0, inputs["input_ids"].shape[1] :]
            text = tiny.tokenizer().decode(new, skip_special_tokens=True).strip()
            assert rows.loc[sample.id, "prediction"] == text
    assert frame.prediction.nunique() > 3
    assert frame.score.tolist() == [
        score_rows(benchmark, [sample.data], [row.prediction])[1]
        for sample in samples
        for row in frame[frame.sample_id == sample.id].itertuples()
    ]
    settings = dataclasses.replace(settings, workdir=tmp_path / "work")
    for _ in range(2):
        again = evaluate_masks(loaded, benchmark, samples, masking, settings)
        assert again.equals(frame)


def test_bad_masks_are_refused() -> None:
    loaded = Loaded(tiny.model("gqa"), tiny.processor(), "llava_next", "tiny", "0")
    benchmark = get_benchmark("synth-docvqa")
    samples = list(benchmark.load(1, seed=0))
    with pytest.raises(InputError, match="score this model"):
        evaluate_masks(loaded, benchmark, samples, Masking(SCORES[:2], [0.1], [0]))
    with pytest.raises(InputError, match=r"masking\.how: 'mean' is unknown"):
        evaluate_masks(loaded, benchmark, samples, Masking(SCORES, [0.1], [0], "mean"))
    for fractions, seeds in (([0.0], [0]), ([1.5], [0]), ([0.1, 0.1], [0]), ([0.1], [0, 0])):
        with pytest.raises(InputError, match=r"masking\."):
            make_masks(SCORES, fractions, seeds)
