"""Training pages, the models in training, the recipe's stages, adapters and checkpoints."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparsemm.documents.pages import generate_document
from sparsemm.documents.rich import RICH_TILE, generate_rich
from sparsemm.embedded.smol import lora, pages
from sparsemm.embedded.smol.architecture import LLAVA, NAMES, QWEN, Tower
from sparsemm.embedded.smol.assemble import ADAPTER, assemble, load_adapter
from sparsemm.embedded.smol.base import Base
from sparsemm.embedded.smol.pages import as_rich
from sparsemm.embedded.smol.patches import CLASSES, HALVES, JOINT, SYMBOLS, _parts, shares
from sparsemm.embedded.smol.projection import fit_last_layer
from sparsemm.embedded.smol.reader import SECOND, SIDE, Reader, dual_of
from sparsemm.embedded.smol.start import take_tower
from sparsemm.embedded.smol.train import Recipe, Stage, _conversations, train
from sparsemm.errors import InputError
from sparsemm.models.loading import build_inputs, load_model

from helpers.smol import TOWER, tiny_base
from helpers.spelling import once, spelt

RECIPE = Recipe(
    tuple(Stage(kind, 2, 2, 1e-3, dense=0.5) for kind in ("tower", "projector", "text", "joint")),
    save_every=1,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return tiny_base(tmp_path_factory.mktemp("base"))


def rich(seed: int, **how: Any) -> Any:
    return generate_rich(random.Random(seed), split="train", **how)


def plain(seed: int) -> Any:
    return as_rich(generate_document(random.Random(seed), split="train"))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_shares_add_up_to_one_and_rows_of_patches_spell_the_lines(seed: int) -> None:
    page = rich(seed)
    found = shares(page)
    assert found.shape == (page.image.height // 8, page.image.width // 8, HALVES, CLASSES)
    assert found.min() >= 0
    assert np.allclose(found.sum(-1), 1, atol=1e-5)
    # Every character is there once, whatever cells share it; of two in one half each has a part.
    drawn = Counter("".join(word.text for word in page.words))
    counted = {char: found[..., 1 + SYMBOLS.index(char)].sum() for char in SYMBOLS[1:-1]}
    assert all(count <= drawn[char] + 1e-3 for char, count in counted.items())
    assert sum(counted.values()) >= 0.9 * drawn.total()
    if not page.angle:
        text = once("\n".join(spelt(found)))
        assert sum(once(word.text) in text for word in page.words) >= 0.85 * len(page.words)


def test_a_character_near_a_border_is_in_both_halves() -> None:
    assert _parts(6.0, 4.0, 1.0, 10) == [(1, 1.0)]
    assert _parts(8.0, 4.0, 1.0, 10) == [(1, 0.5), (2, 0.5)]
    assert _parts(8.5, 4.0, 1.0, 10) == [(1, 0.25), (2, 0.75)]
    assert _parts(0.2, 4.0, 1.0, 10)[-1] == (0, pytest.approx(0.6))


def test_tiles_and_their_shares_are_cut_alike() -> None:
    page = rich(3)
    grid = shares(page)
    tiles, cut = pages.cut(pages.pixels(page.image)), pages.cut_shares(grid)
    assert tiles.shape[0] == cut.shape[0]
    assert np.array_equal(cut[0].view(SIDE, SIDE, HALVES, CLASSES).numpy(), grid[:SIDE, :SIDE])
    assert torch.equal(tiles[0], pages.pixels(page.image)[:, :RICH_TILE, :RICH_TILE])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [rich, plain])
def test_in_training_a_page_is_what_it_is_in_use(base: Base, name: str, make: Any) -> None:
    """Token ids, positions and image tokens are those of processor and model."""
    reader = Reader(name, base, tower=TOWER).eval()
    for seed in range(6):
        page = make(seed)
        prompt = page.questions[0].prompt
        inputs = build_inputs(reader.processor, [page.image], [prompt])
        layout = reader.layout(page)
        ids = [*layout.ids, *reader.ids(f"\n{prompt}<|im_end|>\n<|im_start|>assistant\n")]
        assert inputs["input_ids"][0].tolist() == ids
        positions = reader.positions([layout], len(ids))
        extra = {} if positions is None else {"position_ids": positions}
        with torch.no_grad():
            embeds = reader.whole.get_input_embeddings()(torch.tensor([ids]))
            where = (inputs["input_ids"] == reader.image_id)[..., None]
            embeds = embeds.masked_scatter(where, reader.image_tokens([page])[0])
            ours = reader.whole.lm_head(reader.text(inputs_embeds=embeds, **extra).last_hidden_state)
            theirs = reader.whole(**inputs).logits
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_patches_have_the_shares_of_their_tiles(base: Base) -> None:
    """What a stage trained on tiles is told of a patch, the joint stage is told too."""
    for name in NAMES:
        reader = Reader(name, base, tower=TOWER)
        drawn = [rich(1), rich(2)]
        _, features = reader.image_tokens(drawn)
        found = reader.patch_shares(drawn)
        assert len(features) == len(found)
        if reader.tiled:
            side = SIDE * SIDE
            tiles = pages.cut(pages.pixels(drawn[1].image))
            alone, _ = reader.see(tiles)
            assert torch.allclose(features[-len(tiles) * side :], alone.flatten(0, 1), atol=1e-5)
            assert torch.equal(found[-len(tiles) * side :], pages.cut_shares(shares(drawn[1])).flatten(0, 1))
        else:
            said = [torch.from_numpy(shares(page)).flatten(0, 1) for page in drawn]
            assert torch.equal(found, torch.cat(said))


def test_pages_as_text_have_the_tokens_of_their_grids(base: Base) -> None:
    for name in NAMES:
        reader = Reader(name, base, tower=TOWER)
        drawn = [rich(1), plain(2)]
        layouts = [reader.layout(page, whole=False) for page in drawn]
        wanted = sum(layout.ids.count(reader.image_id) for layout in layouts)
        assert reader.text_tokens(drawn).shape == (wanted, base.shape["hidden_size"])


def test_a_patch_reads_as_its_characters(base: Base) -> None:
    reader = Reader(QWEN, base, tower=TOWER)
    embed = reader.whole.get_input_embeddings().weight.detach()
    of = {char: embed[reader.spelt[char]] for char in " _ab"}

    def read(left: dict[str, float], right: dict[str, float]) -> torch.Tensor:
        patch = torch.zeros(HALVES, CLASSES)
        for half, said in enumerate((left, right)):
            for char, share in said.items():
                patch[half, 1 + SYMBOLS.index(char) if char else 0] = share
        return reader.meanings(patch)

    assert torch.allclose(read({"": 1.0}, {"": 1.0}), of[" "])
    assert torch.allclose(read({JOINT: 1.0}, {JOINT: 1.0}), of["_"])
    assert torch.allclose(read({"a": 1.0}, {"b": 1.0}), of["a"] + SECOND * of["b"])
    assert torch.allclose(read({"a": 0.5, JOINT: 0.5}, {JOINT: 1.0}), 0.5 * of["a"] + 0.5 * of["_"])


def test_the_dual_tells_how_much_of_every_embedding_is_in_a_token() -> None:
    rows = torch.randn(20, 64, generator=torch.Generator().manual_seed(0)) + 3
    found = (0.7 * rows[4] + 0.3 * rows[8]) @ dual_of(rows)
    wanted = torch.zeros(20)
    wanted[[4, 8]] = torch.tensor([0.7, 0.3])
    assert torch.allclose(found, wanted, atol=0.05)


def test_answers_are_spelt_and_alone_have_a_loss(base: Base) -> None:
    reader = Reader(LLAVA, base, tower=TOWER)
    page = rich(4)
    ids, targets, _ = _conversations(reader, [page], random.Random(0), 2)
    said = reader.processor.tokenizer.decode(targets[targets != -100].tolist())
    answers = [answer for _, answer in pages.turns(page, random.Random(0), 2)]
    assert said == "".join(f"{answer}<|im_end|>" for answer in answers)
    assert int((targets != -100).sum()) == sum(len(answer) + 1 for answer in answers)
    assert torch.equal(ids[targets != -100], targets[targets != -100])


def test_lora_is_nothing_at_first_and_can_be_merged(base: Base) -> None:
    reader, plain_one = Reader(QWEN, base, tower=TOWER), Reader(QWEN, base, tower=TOWER)
    ids = torch.arange(40)[None] + 20
    with torch.no_grad():
        before = reader.text(input_ids=ids).last_hidden_state
        for parameter in reader.adapters:
            parameter.normal_(std=0.05, generator=torch.Generator().manual_seed(3))
        after = reader.text(input_ids=ids).last_hidden_state
        text = plain_one.whole.model.language_model
        assert torch.allclose(before, text(input_ids=ids).last_hidden_state, atol=1e-5)
        for _, owner, part in list(lora.projections(text)):
            setattr(owner, part, getattr(owner, part).linear)
        lora.merge(text, lora.trained(reader.text))
        merged = text(input_ids=ids).last_hidden_state
    assert not torch.allclose(before, after, atol=1e-2)
    assert torch.allclose(after, merged, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_training_gives_an_adapter_and_that_a_checkpoint_the_same_every_time(
    base: Base, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsemm.embedded.smol.reader.TOWERS", {name: TOWER})
    train(name, tmp_path / "whole", tmp_path / "work", recipe=RECIPE, base=base, report=lambda line: None)

    class Stop(Exception):
        pass

    real = torch.save

    def stop_in_joint(state: object, path: Path) -> None:
        real(state, path)
        if "joint" in str(path):
            path.replace(path.with_suffix(".pt"))  # what follows a save
            raise Stop

    monkeypatch.setattr("torch.save", stop_in_joint)
    with pytest.raises(Stop):
        train(
            name, tmp_path / "parts", tmp_path / "again", recipe=RECIPE, base=base, report=lambda line: None
        )
    monkeypatch.setattr("torch.save", real)
    train(name, tmp_path / "parts", tmp_path / "again", recipe=RECIPE, base=base, report=lambda line: None)
    whole, parts = (tmp_path / folder / ADAPTER for folder in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()

    assemble(tmp_path / "whole", tmp_path / "first", base=base)
    assemble(tmp_path / "whole", tmp_path / "second", base=base)
    assert _digests(tmp_path / "first") == _digests(tmp_path / "second")
    assert {"model.safetensors", "config.json", "processor_config.json"} <= set(_digests(tmp_path / "first"))
    loaded = load_model(tmp_path / "first")
    page = rich(5)
    with torch.no_grad():
        logits = loaded.model(**build_inputs(loaded.processor, [page.image], ["What?"])).logits
    assert bool(logits.isfinite().all())


def _digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_training_starts_from_the_tower_of_a_model_that_reads(base: Base, tmp_path: Path) -> None:
    """Weights are taken over whole; a tower of another shape, or none, is refused."""
    reads = Reader(LLAVA, base, tower=TOWER, seed=3)
    reads.whole.save_pretrained(tmp_path / "reads")
    reader = Reader(LLAVA, base, tower=TOWER, seed=4)
    take_tower(reader.whole.model.vision_tower, tmp_path / "reads")
    before, after = (each.whole.model.vision_tower.state_dict() for each in (reads, reader))
    assert all(torch.allclose(before[name], after[name]) for name in before)
    with pytest.raises(InputError, match=r"has no .* of shape"):
        take_tower(
            Reader(LLAVA, base, tower=Tower(32, 1, 2, 32)).whole.model.vision_tower, tmp_path / "reads"
        )
    with pytest.raises(InputError, match="no checkpoint that can be read"):
        take_tower(reader.whole.model.vision_tower, tmp_path)


def test_adapters_that_are_missing_or_damaged_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such adapter"):
        load_adapter(tmp_path)
    (tmp_path / ADAPTER).write_bytes(b"version https://git-lfs")
    with pytest.raises(InputError, match="not an adapter") as caught:
        load_adapter(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_the_last_layer_is_fitted_to_what_counts(base: Base, name: str) -> None:
    """A target that is linear in the features is found again, whatever patches without weight are told."""
    reader = Reader(name, base, tower=TOWER)
    tiles = pages.cut(pages.pixels(rich(1).image))
    with torch.no_grad():
        features, before = reader.see(tiles)
    true = nn.Linear(features.shape[-1], base.shape["hidden_size"])
    wanted = true(features).detach()
    weight = torch.ones(wanted.shape[:2])
    weight[:, ::3] = 0
    told = wanted.masked_fill((weight == 0)[..., None], 9.0)
    fit_last_layer(reader, tiles, told, weight, batch=2)
    with torch.no_grad():
        same, after = reader.see(tiles)
    assert torch.equal(same, features)
    residual = (after - wanted).square().mean() / (wanted - wanted.mean((0, 1))).square().mean()
    assert residual < 0.02 < (before - wanted).square().mean() / wanted.var()
