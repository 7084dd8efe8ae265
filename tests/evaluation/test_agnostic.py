"""Cells that compress before the question is known: answers and kept tokens equal a plain reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sparsemm.benchmarks import Sample, get_benchmark
from sparsemm.errors import InputError
from sparsemm.evaluation import agnostic
from sparsemm.evaluation.cells import make_cells
from sparsemm.evaluation.evaluate import evaluate
from sparsemm.evaluation.settings import RunSettings
from sparsemm.generation.prefix import GENERIC_INSTRUCTION, instruction_tokens
from sparsemm.labels import split_question, with_question
from sparsemm.models.loading import Loaded, build_inputs, shape
from sparsemm.models.text import end_tokens

from helpers.prefixes import answer_after, kept_of_prefix
from helpers.tiny_families import tiny_family

LABELS = ("snapkv", "sparsemm[rho=0.3]", "adakv@image_aware", "pyramidkv@key_diff")
PAIRS = [("fullkv", 0)] + [(label, budget) for label in LABELS for budget in (12, 20)]
MODES = ("agnostic", "instructed")
PAIRS += [(with_question(label, mode), budget) for mode in MODES for label in LABELS for budget in (12, 20)]
FAMILIES = {"llava_next-mistral": "llava_next", "qwen2_vl": "qwen2_vl", "internvl": "internvl"}


def loaded(family: str) -> Loaded:
    return Loaded(*tiny_family(family), FAMILIES[family], "tiny", "0")


def cells(family: str, pairs: Any = PAIRS) -> Any:
    sizes = shape(tiny_family(family)[0])
    drawn = np.random.default_rng(3).random((sizes.num_layers, sizes.num_heads)) ** 4
    return make_cells(pairs, window=4, kernel=5, scores=drawn / drawn.sum())


def samples(benchmark: Any, count: int = 3) -> list[Sample]:
    """Questions, the first two about one image."""
    first, second, *others = benchmark.load(count, seed=1)
    return [first, replace(second, image=first.image, image_id=first.image_id), *others]


def quiet(batch_size: int = 16) -> RunSettings:
    return RunSettings(batch_size=batch_size, progress=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_cells_equal_the_plain_reference(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = get_benchmark("synth-docvqa", max_new_tokens=5)
    prefilled = []
    plain = agnostic.prefix_cells
    monkeypatch.setattr(agnostic, "prefix_cells", lambda *args: prefilled.append(1) or plain(*args))
    asked = samples(benchmark)
    frame = evaluate(loaded(family), benchmark, asked, cells(family), quiet())
    assert len(frame) == len(PAIRS) * len(asked)
    assert len(prefilled) == 2 * len(MODES)  # images, not questions
    model, processor = tiny_family(family)
    sizes = shape(model)
    for sample in asked:
        prompt = benchmark.prompt(sample.data, FAMILIES[family], rules="paper")
        inputs = build_inputs(processor, [sample.image.open()], [prompt])
        instruction = instruction_tokens(processor, GENERIC_INSTRUCTION, inputs["input_ids"])
        for cell in (each for each in cells(family) if each.question in MODES):
            asked_by = instruction if cell.question == "instructed" else None
            kept = kept_of_prefix(model, inputs, cell.policy, asked_by)
            tokens = answer_after(model, inputs, kept, 5)
            ends = [place for place, token in enumerate(tokens) if token in end_tokens(model)]
            text = processor.tokenizer.decode(tokens[: ends[0]] if ends else tokens, skip_special_tokens=True)
            own = frame[(frame.sample_id == sample.id) & (frame.policy == cell.label)]
            (row,) = own[own.budget == cell.budget].itertuples()
            assert row.prediction == text.strip()
            question = inputs["input_ids"].shape[1] - kept.shape[-1]
            total = int(kept.sum()) + question * sizes.num_layers * sizes.num_kv_heads
            assert row.cache_bytes == total * 2 * sizes.head_dim * 4
            assert row.prompt_tokens == inputs["input_ids"].shape[1]
            assert row.kept_tokens == pytest.approx(kept.float().mean() * kept.shape[-1] + question)


def test_aware_cells_do_not_change_and_batches_do_not_matter() -> None:
    family, benchmark = "qwen2_vl", get_benchmark("synth-docvqa", max_new_tokens=4)
    asked = samples(benchmark, 4)
    both = evaluate(loaded(family), benchmark, asked, cells(family), quiet())
    assert both.equals(evaluate(loaded(family), benchmark, asked, cells(family), quiet(1)))
    aware, rest = ([pair for pair in PAIRS if ("question" in pair[0]) == late] for late in (False, True))
    for pairs in (aware, rest):
        alone = evaluate(loaded(family), benchmark, asked, cells(family, pairs), quiet())
        wanted = both[both.policy.isin([label for label, _ in pairs])].reset_index(drop=True)
        assert alone.equals(wanted)


@pytest.mark.parametrize("mode", MODES)
def test_without_a_limit_the_answer_is_that_of_the_full_cache(mode: str) -> None:
    family, benchmark = "llava_next-mistral", get_benchmark("synth-docvqa", max_new_tokens=6)
    pairs = [("fullkv", 0), (with_question("snapkv", mode), 4096)]
    frame = evaluate(loaded(family), benchmark, samples(benchmark), cells(family, pairs), quiet())
    full, other = (frame[frame.budget == budget].reset_index(drop=True) for budget in (0, 4096))
    assert full.drop(columns=["policy", "budget"]).equals(other.drop(columns=["policy", "budget"]))


@pytest.mark.parametrize(
    ("label", "written"),
    [
        ("sparsemm", "sparsemm[question=agnostic]"),
        ("sparsemm@key_norm", "sparsemm[question=agnostic]@key_norm"),
        ("sparsemm[rho=0.3]", "sparsemm[rho=0.3,question=agnostic]"),
        ("sparsemm[rho=0.3]@streaming[sinks=8]", "sparsemm[rho=0.3,question=agnostic]@streaming[sinks=8]"),
    ],
)
def test_labels_say_the_mode(label: str, written: str) -> None:
    assert with_question(label, "aware") == label
    assert with_question(label, "agnostic") == written
    assert split_question(written) == (label, "agnostic")
    assert split_question(label) == (label, "aware")


def test_other_forms_of_labels() -> None:
    assert split_question("sparsemm[question=agnostic, rho=0.3]@key_norm")[0] == "sparsemm[ rho=0.3]@key_norm"
    with pytest.raises(InputError, match="question=agnostik is not known: did you mean 'agnostic'"):
        split_question("sparsemm[question=agnostik]")
