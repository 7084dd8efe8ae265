"""The embedded model's documents, tokenizer and training recipe."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from sparsemm.documents.pages import (
    READ_PROMPT,
    TILE,
    VALUE_PROMPT,
    Document,
    generate_document,
)
from sparsemm.documents.words import SPLITS, WordSource, split_of
from sparsemm.embedded import samples
from sparsemm.embedded.model import build_model, export
from sparsemm.embedded.train import Stage, Trainee, train
from sparsemm.models.loading import build_inputs, load_model


def draw(number: int, kind: str = "page", split: str = "train") -> Document:
    return generate_document(random.Random(number), split=split, kind=kind)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", ["page", "chart"])
def test_every_word_belongs_to_its_split(split: str, kind: str) -> None:
    words = [word.text for number in range(30) for word in draw(number, kind, split).words]
    assert len(words) > 100
    assert {split_of(word) for word in words} == {split}


@pytest.mark.parametrize("kind", ["page", "chart"])
def test_glyphs_lie_inside_the_page_and_cross_no_tile_seam(kind: str) -> None:
    for number in range(100):
        document = draw(number, kind)
        width, height = document.image.size
        for word in document.words:
            for glyph in word.glyphs:
                x0, y0, x1, y1 = glyph.box
                assert 0 <= x0 < x1 <= width
                assert 0 <= y0 < y1 <= height
                assert int(x0) // TILE == (int(x1) - 1) // TILE
                assert int(y0) // TILE == (int(y1) - 1) // TILE


def test_no_two_characters_follow_each_other_twice_on_a_page() -> None:
    for number in range(50):
        words = [word.text for word in draw(number).words]
        pairs = [word[i : i + 2] for word in words for i in range(len(word) - 1)]
        assert len(pairs) == len(set(pairs))


def test_the_same_seed_draws_the_same_document() -> None:
    first, second = draw(3), draw(3)
    assert first.transcript == second.transcript
    assert first.image.tobytes() == second.image.tobytes()


def test_unknown_split_and_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="split 'test'"):
        WordSource(random.Random(0), "test")
    with pytest.raises(ValueError, match="kind 'map'"):
        generate_document(random.Random(0), split="train", kind="map")


def test_ink_is_where_the_boxes_say() -> None:
    image = draw(5)
    pixels = torch.tensor(list(image.image.convert("L").tobytes())).view(
        image.image.height, image.image.width
    )
    outside = torch.ones_like(pixels, dtype=torch.bool)
    for word in image.words:
        x0, y0, x1, y1 = (int(side) for side in word.box)
        outside[y0:y1, x0:x1] = False
        inside = pixels[y0:y1, x0:x1].float()
        assert inside.max() - inside.min() > 60
    paper = pixels[outside].float()
    assert paper.max() - paper.min() < 80  # noise only


def test_tiles_are_those_of_the_processor() -> None:
    _, processor = build_model()
    documents = [draw(number) for number in range(6)]
    for document in documents:
        made = processor(images=document.image, text="<image>", return_tensors="pt")["pixel_values"][0]
        assert torch.equal(made, samples.tiles(document))


def test_patch_classes_spell_the_page() -> None:
    document = draw(1)
    side = TILE // 8
    classes = samples.tile_classes(document)
    assert classes.shape == (len(samples.tiles(document)), side * side)
    glyphs = sum(len(word.glyphs) for word in document.words)
    assert int((classes != samples.BLANK).sum()) == glyphs
    text = samples.grid_text(document)
    assert [word.text for word in document.words] == [
        "".join(text[samples.BASE_TOKENS :].split("\n")[int(w.glyphs[0].center[1] // 8)])[
            int(w.glyphs[0].center[0] // 8) : int(w.glyphs[-1].center[0] // 8) + 1
        ].replace(" ", "")
        for w in document.words
    ]


def test_prompts_are_300_to_700_tokens_and_nine_tenths_image() -> None:
    model, processor = build_model()
    for number in range(12):
        document = draw(number)
        for prompt in (READ_PROMPT, VALUE_PROMPT.format(key=document.lines[0].key)):
            ids = build_inputs(processor, [document.image], [prompt])["input_ids"][0]
            image = int((ids == model.config.image_token_id).sum())
            assert 300 <= len(ids) <= 700
            assert image / len(ids) > 0.9


def test_the_tokenizer_spells_pages_and_keeps_instruction_words_whole() -> None:
    _, processor = build_model()
    text = draw(2).transcript
    ids = processor.tokenizer(text)["input_ids"]
    assert len(ids) == len(text)
    assert processor.tokenizer.decode(ids) == text
    assert len(processor.tokenizer(READ_PROMPT)["input_ids"]) < 15
    assert len(processor.tokenizer("thematic")["input_ids"]) == len("thematic")  # " the" is no prefix of it


def test_shape_and_size_of_the_embedded_model(tmp_path: Path) -> None:
    model, processor = build_model()
    text = model.config.get_text_config()
    assert text.num_hidden_layers >= 6
    assert text.num_attention_heads >= 8
    export(model, processor, tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 15_000_000
    assert load_model(tmp_path).family == "llava_next"


def test_training_resumed_equals_training_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsemm.embedded.train.SAVE_EVERY", 1)
    stages = tuple(Stage(name, 2, 2, 1e-3) for name in "abcde")
    train(tmp_path / "whole", tmp_path / "work", stages=stages, report=lambda line: None)

    class Stop(Exception):
        pass

    real = torch.save

    def stop_in_stage_e(state: object, path: Path) -> None:
        real(state, path)
        if "stage-e" in str(path):
            path.replace(path.with_suffix(".pt"))  # what _save would have done next
            raise Stop

    monkeypatch.setattr("torch.save", stop_in_stage_e)
    with pytest.raises(Stop):
        train(tmp_path / "parts", tmp_path / "again", stages=stages, report=lambda line: None)
    assert not (tmp_path / "parts").exists()
    monkeypatch.setattr("torch.save", real)
    train(tmp_path / "parts", tmp_path / "again", stages=stages, report=lambda line: None)
    name = "model.safetensors"
    assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_what_is_shipped_is_the_mean_of_the_last_two_stages(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    trainee = Trainee(0)
    head = trainee.whole.lm_head.weight.data
    for name, value in (("e2", 1.0), ("e3", 2.0)):
        head.fill_(value)
        torch.save(trainee.state_dict(), work / f"stage-{name}.pt")
    stages = tuple(Stage(name, 1, 1, 1e-3) for name in ("e2", "e3"))
    train(tmp_path / "out", work, stages=stages, report=lambda line: None)
    shipped: Any = load_model(tmp_path / "out").model
    assert shipped.lm_head.weight.unique().tolist() == [1.5]
