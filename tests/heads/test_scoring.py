"""Visual scores against a plain eager reference, and what is recorded with them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsemm.documents.pages import READ_PROMPT
from sparsemm.errors import InputError
from sparsemm.families.llava_next import LlavaNextLayout
from sparsemm.heads.attention_maps import choose_heads
from sparsemm.heads.matching import token_spans
from sparsemm.heads.patch_map import PatchMap, WordPatches
from sparsemm.heads.probe import ProbeImage, probe_digest
from sparsemm.heads.recording import ArgmaxRecorder, recording
from sparsemm.heads.scores import HeadScores
from sparsemm.heads.scoring import score_heads, score_samples
from sparsemm.heads.settings import ScoringKeywords, ScoringSettings
from sparsemm.models.loading import build_inputs, shape
from sparsemm.models.patching import attention_implementation
from sparsemm.policies import SparseMM
from sparsemm.policies.planning import planned_keep
from sparsemm.reporting.figures.heatmap import figure2

from helpers.probes import NEW, SIZES, answers_of, make_probe, settings_of
from helpers.tiny import image, model, processor


@contextmanager
def ends_with(variant: str, token: int | None) -> Iterator[None]:
    """The tiny model with an end token."""
    config = model(variant).generation_config
    before, config.eos_token_id = config.eos_token_id, token
    try:
        yield
    finally:
        config.eos_token_id = before


def containing_box(probe_image: ProbeImage, step: int, text: str) -> Any:
    """The stripped rule: the box of the only word that contains the token, or None."""
    found = [box for word, box in zip(probe_image.words, probe_image.boxes) if text and text in word]
    return found[0] if len(found) == 1 else None


def reference(
    variant: str,
    probe: list[ProbeImage],
    convention: str,
    end: int | None = None,
    box_of: Any = containing_box,
) -> Any:
    """Hits and weights by eager attention, one image at a time, written as in the paper: no batch, no recorder."""
    made, tokenizer = model(variant), processor().tokenizer
    hits = np.zeros((len(probe), 3, 6), dtype=np.int64)
    weights = np.zeros((len(probe), 3, 6))
    matched = np.zeros(len(probe), dtype=np.int64)
    for n, item in enumerate(probe):
        inputs = build_inputs(processor(), [item.image], [READ_PROMPT], "cpu")
        with attention_implementation(made, "eager"), ends_with(variant, end):
            out = made.generate(
                **inputs,
                max_new_tokens=NEW,
                do_sample=False,
                output_attentions=True,
                return_dict_in_generate=True,
            )
        ids = inputs["input_ids"][0]
        positions = torch.nonzero(ids == made.config.image_token_id).flatten().tolist()
        layout = LlavaNextLayout(made.config, (item.image.height, item.image.width))
        for step, token in enumerate(out.sequences[0, len(ids) :].tolist()):
            if token == end:
                break
            text = tokenizer.decode([token]).strip()
            box = box_of(item, step, text)
            if box is None:
                continue
            matched[n] += 1
            covered = {positions[t] for t in layout.tokens(box, convention)}
            for layer, rows in enumerate(out.attentions[step]):
                for head in range(6):
                    if int(rows[0, head, -1].argmax()) in covered:
                        hits[n, layer, head] += 1
                        weights[n, layer, head] += 1 / len(covered)
    return hits, weights, matched


@pytest.mark.parametrize("convention", ["released", "all"])
def test_equals_eager_output_attentions(variant: str, convention: str) -> None:
    probe = make_probe(variant)
    hits, weights, matched = reference(variant, probe, convention)
    assert hits.sum() > 20, "the reference must see something"
    settings = settings_of(batch_size=3, convention=convention)
    samples = score_samples(model(variant), processor(), probe, settings)
    assert samples.image_ids == tuple(p.id for p in probe)
    assert samples.matched.tolist() == matched.tolist()
    assert np.array_equal(samples.hits, hits)
    assert np.allclose(samples.weights, weights, rtol=1e-12)


def test_exact_matching_equals_eager_on_pages_that_say_what_the_model_says(variant: str) -> None:
    """The page is the answer, two characters a word with a box of its own: character i stands in box i // 2."""
    probe, tokens = [], {}
    for index, (width, height) in enumerate(SIZES):
        picture = image(width, height, seed=index)
        said, spans = token_spans(processor().tokenizer, answers_of(variant, [picture])[0])
        words = [said[i : i + 2] for i in range(0, len(said), 2)]
        edges = np.linspace(0, width, len(words) + 1).tolist()
        boxes = [(left, 0.0, right, float(height)) for left, right in itertools.pairwise(edges)]
        probe.append(ProbeImage(f"{index:03d}", picture, words, boxes))
        tokens[f"{index:03d}"] = [start // 2 if said[start:end].strip() else None for start, end in spans]

    def box_of(item: ProbeImage, step: int, text: str) -> Any:
        word = tokens[item.id][step]
        return None if word is None else item.boxes[word]

    hits, weights, matched = reference(variant, probe, "all", box_of=box_of)
    assert hits.sum() > 20
    settings = settings_of(convention="all", matching="exact", batch_size=3)
    samples = score_samples(model(variant), processor(), probe, settings)
    assert samples.matched.tolist() == matched.tolist()
    assert np.array_equal(samples.hits, hits)
    assert np.allclose(samples.weights, weights, rtol=1e-12)
    stripped = score_samples(model(variant), processor(), probe, settings_of())
    assert samples.matched.sum() > stripped.matched.sum(), "repeated characters must count too"


def test_a_word_that_no_token_covers_is_matched_but_never_hit() -> None:
    """I is empty: the token counts among the matched, no head gets a weight."""
    probe = make_probe("mha")[:1]
    none = np.zeros(0, np.int64)
    words = [
        WordPatches(word, box, none, none, np.zeros((0, 4)))
        for word, box in zip(probe[0].words, probe[0].boxes)
    ]
    patches = PatchMap({probe[0].id: tuple(words)})
    samples = score_samples(model("mha"), processor(), probe, settings_of(convention="all"), patches=patches)
    assert samples.matched.sum() > 0
    assert not samples.hits.any()
    assert not samples.weights.any()
    assert np.isfinite(samples.weights).all()


def test_nothing_at_or_after_the_end_token_counts(variant: str) -> None:
    probe = make_probe(variant)
    said = [answers_of(variant, [p.image])[0] for p in probe]
    end = next(t for row in said for t in row[2:-2] if any(t not in other for other in said))
    hits, _, matched = reference(variant, probe, "all", end)
    with ends_with(variant, end):
        lengths = [len(row) for row in answers_of(variant, [p.image for p in probe])]
        assert len(set(lengths)) > 1, "some rows must end before others"
        settings = settings_of(convention="all")
        samples = score_samples(model(variant), processor(), probe, settings)
    assert samples.matched.tolist() == matched.tolist()
    assert np.array_equal(samples.hits, hits)


def test_recording_changes_no_token_and_restores_the_model(variant: str) -> None:
    made = model(variant)
    pictures = [image(*size, seed=i) for i, size in enumerate(SIZES)]
    plain = answers_of(variant, pictures)
    before = made.config.text_config._attn_implementation
    recorder = ArgmaxRecorder(3)
    with recording(made, recorder):
        assert answers_of(variant, pictures) == plain
    assert recorder.positions().shape == (len(SIZES), NEW, 3, 6)
    with pytest.raises(RuntimeError, match="stop"), recording(made, recorder):
        raise RuntimeError("stop")
    assert made.config.text_config._attn_implementation == before
    assert not any("recorder" in name for m in made.modules() for name in vars(m))
    assert answers_of(variant, pictures) == plain


def test_scores_sum_to_one_and_know_how_they_were_made(variant: str) -> None:
    probe = make_probe(variant)
    scores = score_heads(
        model(variant),
        processor(),
        probe,
        max_new_tokens=NEW,
        convention="all",
        progress=False,
        metadata={"model": "tiny"},
    )
    assert scores.values.shape == (3, 6)
    assert scores.values.sum() == pytest.approx(1.0)
    assert scores.samples is not None
    assert scores.hits is not None
    assert scores.matched == scores.samples.matched.sum() > 0
    assert scores.metadata == {
        "prompt": READ_PROMPT,
        "max_new_tokens": NEW,
        "convention": "all",
        "matching": "stripped",
        "positions": "mrope",
        "generation": {},
        "probe_images": len(probe),
        "probe_sha256": probe_digest(probe),
        "model": "tiny",
    }
    total = scores.samples.weights.sum(axis=0)
    assert np.allclose(scores.values, total / total.sum())
    assert scores.ci_low is not None
    assert scores.ci_high is not None
    assert (scores.ci_low <= scores.values + 1e-9).all()
    assert (scores.values <= scores.ci_high + 1e-9).all()
    means, matched = scores.samples.means, scores.samples.matched[:, None, None]
    assert np.allclose(means * matched, scores.samples.weights)


def test_scores_know_their_model_and_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    made, probe = model("gqa"), make_probe("gqa")

    def metadata(items: list[ProbeImage], **given: Any) -> dict[str, Any]:
        settings = {"max_new_tokens": NEW, "convention": "all", "progress": False}
        return score_heads(made, processor(), items, **settings, **given).metadata

    monkeypatch.setattr(made, "name_or_path", "hub/models--llava-hf--llava-next/snapshots/0a1b")
    monkeypatch.setattr(made.config, "_commit_hash", "0a1b", raising=False)
    found = metadata(probe[:2])
    assert (found["model"], found["model_revision"], found["probe_images"]) == ("llava-next", "0a1b", 2)
    moved = [ProbeImage(p.id, p.image, p.words, [(0.0, 0.0, 9.0, 9.0)] * 3) for p in probe[:2]]
    assert metadata(moved, metadata={"model": "other"})["probe_sha256"] != found["probe_sha256"]
    assert metadata(probe[:2], metadata={"model": "other"}) == found | {"model": "other"}
    assert metadata(probe[:2], matching="exact", batch_size=1) == found | {"matching": "exact"}


def test_keywords_are_the_settings_and_override_them() -> None:
    assert ScoringKeywords.__annotations__.keys() == {each.name for each in fields(ScoringSettings)}
    probe = make_probe("mha")[:2]
    settings = settings_of(convention="all", max_new_tokens=2, seed=3)
    by_settings = score_heads(model("mha"), processor(), probe, settings=settings, max_new_tokens=NEW)
    by_keywords = score_heads(
        model("mha"), processor(), probe, convention="all", max_new_tokens=NEW, seed=3, progress=False
    )
    assert by_settings.metadata == by_keywords.metadata
    assert by_settings.frame().equals(by_keywords.frame())
    with pytest.raises(TypeError, match="max_tokens"):
        score_heads(model("mha"), processor(), probe, max_tokens=2)  # type: ignore[call-arg]


def test_bad_settings_and_probes_get_one_line() -> None:
    good = make_probe("mha")

    def refused(said: str, probe: list[ProbeImage], **changes: Any) -> None:
        with pytest.raises(InputError, match=said) as caught:
            score_heads(model("mha"), processor(), probe, progress=False, **{"max_new_tokens": 2} | changes)
        assert "\n" not in str(caught.value)

    refused("empty", [])
    refused("same id", [good[0], good[0]])
    refused("max_new_tokens: 0", good, max_new_tokens=0)
    refused("batch_size: 0", good, batch_size=0)
    refused("convention: 'none'", good, convention="none")
    refused("matching: 'none' is unknown; use stripped or released or exact", good, matching="none")
    refused("positions: 'none'", good, positions="none")
    refused("generation: 'none'", good, generation="none")
    refused("no_match: 'none'", good, no_match="none")
    outside = ProbeImage("x", good[0].image, ["a"], [(0.0, 0.0, 61.0, 4.0)])
    refused("image x, box 0 .* outside", [good[0], outside])
    unread = ProbeImage("x", good[0].image, ["\u00e9"], [(0.0, 0.0, 6.0, 4.0)])
    refused("no generated token matches", [unread])


@pytest.mark.parametrize("lacking", ["no token matched", "no head hit"])
def test_uniform_scores_where_nothing_matches(
    lacking: str, variant: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    probe = make_probe(variant)[:2]
    if lacking == "no token matched":
        probe = [ProbeImage(p.id, p.image, ["\u00e9"] * 3, p.boxes) for p in probe]
    none = np.zeros(0, np.int64)
    words = {
        p.id: tuple(WordPatches(*pair, none, none, np.zeros((0, 4))) for pair in zip(p.words, p.boxes))
        for p in probe
    }
    options: dict[str, Any] = {"patches": PatchMap(words), "max_new_tokens": NEW, "progress": False}
    with pytest.raises(InputError, match=r"no generated token matches|no attention hit"):
        score_heads(model(variant), processor(), probe, **options)
    scores = score_heads(model(variant), processor(), probe, no_match="uniform", **options)
    assert f"{lacking} on 2 probe images; every head gets the same score" in caplog.text
    assert scores.metadata["no_match"] == f"uniform: {lacking}"
    assert (scores.values == 1 / 18).all()
    assert (scores.matched > 0) == (lacking == "no head hit")
    path, rows = tmp_path / "tiny.parquet", tmp_path / "samples" / "tiny.parquet"
    scores.save(path, samples=rows)
    again = HeadScores.load(path, samples=rows)
    assert again.metadata["no_match"] == scores.metadata["no_match"]
    for name in ("values", "ci_low", "ci_high"):
        assert (getattr(again, name) == scores.values).all()
    assert again.hits is not None
    assert not again.hits.any()
    assert again.agreement(again, draws=5).spearman == 0.0
    assert again.ranking()[:2] == [(0, 0), (0, 1)]
    assert len(choose_heads(again, visual=2, other=2)) == 4
    heads = shape(model(variant)).num_kv_heads
    keep = planned_keep(SparseMM(again, 20, window=8), 3, heads)
    assert keep is not None
    assert (keep == 12).all()
    figure2([path], tmp_path / "figure2", samples=[rows])
    assert (tmp_path / "figure2.png").stat().st_size > 0
    usual = score_heads(model(variant), processor(), make_probe(variant), no_match="uniform", progress=False)
    assert "no_match" not in usual.metadata


def test_the_settings_in_force_are_recorded() -> None:
    made, probe = model("mha"), make_probe("mha")[:2]
    before = made.generation_config
    made.generation_config = copy.deepcopy(before)
    made.generation_config.repetition_penalty = 1.3
    options: dict[str, Any] = {"convention": "all", "progress": False, "max_new_tokens": NEW}
    try:
        with_penalty, plain = (
            score_heads(made, processor(), probe, generation=generation, **options)
            for generation in ("model", "plain")
        )
    finally:
        made.generation_config = before
    assert with_penalty.metadata["generation"] == {"repetition_penalty": 1.3}
    assert plain.metadata["generation"] == {}
    usual = score_heads(made, processor(), probe, **options)
    assert (plain.values == usual.values).all()
    assert (with_penalty.values != usual.values).any()


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    score_samples(
        model("mha"), processor(), make_probe("mha")[:1], settings_of(max_new_tokens=2, progress=True)
    )
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "1/1" in shown.err
