"""Every family: loading and saving, prompts, positions and the one-prefill engine."""

from __future__ import annotations

import sys

import pytest
import torch

from sparsemm import FullKV, SnapKV, make_policy
from sparsemm.cache.attention import ragged_attention_in
from sparsemm.errors import InputError
from sparsemm.evaluation.engine.run import run_cells
from sparsemm.families import FAMILIES, family_of
from sparsemm.families.processors import load_images_and_text, without_video
from sparsemm.generation.compress import compress
from sparsemm.generation.prefill import capture_prefill, decode_step
from sparsemm.models.loading import build_inputs, load_model, load_processor, render, shape

from helpers import tiny
from helpers.generation import generate
from helpers.tiny_families import FAMILY_NAMES, tiny_family

QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
WITH_VIDEO = (*QWEN, "llava_onevision", "internvl")
SIZES = [(60, 40), (20, 64), (64, 64)]
PROMPTS = ["Read it.", "What is in line 3?", "Name?"]
NEW = 6

every_family = pytest.mark.parametrize("name", FAMILY_NAMES)


def padded(processor):
    """A left padded batch of three prompts with images of unequal sizes."""
    made = build_inputs(processor, [tiny.image(*size, seed=size[0]) for size in SIZES], PROMPTS)
    assert len(set(made["attention_mask"].sum(-1).tolist())) == 3
    return made


@every_family
def test_family_is_found_from_model_config_and_processor(name):
    model, processor = tiny_family(name)
    expected = name.split("-")[0]
    assert [family_of(source).name for source in (model, model.config, processor)] == [expected] * 3
    assert sum(family.owns(processor) for family in FAMILIES) == 1


def test_unknown_family_is_one_line():
    with pytest.raises(InputError, match="str is not supported; known families: llava_next"):
        family_of("a string")


@every_family
def test_saved_folder_loads_as_the_same_model_and_processor(name, tmp_path):
    model, processor = tiny_family(name)
    folder = tmp_path / "saved"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    loaded = load_model(folder)
    assert loaded.family == name.split("-")[0]
    assert type(loaded.model) is type(model)
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), model.parameters(), strict=True))
    assert loaded.processor.to_dict().keys() == processor.to_dict().keys()
    ours, theirs = padded(loaded.processor), padded(processor)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert shape(loaded.model) == shape(model)
    assert render(loaded.processor, "hi") == render(processor, "hi")
    again = tmp_path / "again"
    loaded.processor.save_pretrained(again)
    assert (again / "processor_config.json").read_text() == (folder / "processor_config.json").read_text()


@every_family
def test_several_images_a_prompt_each_have_their_tokens(name):
    model, processor = tiny_family(name)
    images = [[tiny.image(60, 40), tiny.image(20, 64, seed=1)], [tiny.image(64, 64, seed=2)]]
    inputs = build_inputs(processor, images, ["Compare.", "Read it, all of it."])
    assert (inputs["attention_mask"][:, -1] == 1).all()
    image_tokens = (inputs["input_ids"] == shape(model).image_token_id).sum(-1)
    alone = build_inputs(processor, images[:1], ["Compare."])
    assert image_tokens[0] == (alone["input_ids"] == shape(model).image_token_id).sum()
    tokens, logits = generate(model, inputs, NEW)
    single, expected = generate(model, alone, NEW)
    torch.testing.assert_close(logits[:, 0], expected[:, 0], atol=1e-5, rtol=0)
    assert torch.equal(tokens[0], single[0])


def positions_of_generate(model, inputs):
    """position_ids of every call of the text model during generate."""
    seen = []
    decoder = model.get_decoder()

    def record(module, args, kwargs):
        seen.append(kwargs["position_ids"].clone())

    handle = decoder.register_forward_pre_hook(record, with_kwargs=True)
    try:
        answer = generate(model, inputs, NEW)
    finally:
        handle.remove()
    return seen, answer


@every_family
def test_positions_are_those_of_generate(name):
    model, processor = tiny_family(name)
    family, inputs = family_of(model), padded(processor)
    (prefill, *steps), _ = positions_of_generate(model, inputs)
    positions, following = family.prefill_positions(model, inputs)
    real = inputs["attention_mask"].bool()
    assert positions.shape == prefill.shape
    assert torch.equal(positions[..., real], prefill[..., real])
    assert following.dtype == torch.int64
    assert len(steps) == NEW - 1
    for step, theirs in enumerate(steps):
        ours = family.decode_positions(following + step)
        # Qwen's first row counts tokens for the mask and does not reach the rotation
        assert torch.equal(ours, theirs[-3:] if theirs.ndim == 3 else theirs)
    if name in QWEN:
        assert len({int(length) for length in following - real.sum(-1)}) > 1  # M-RoPE compresses unequally


@every_family
def test_captured_prefill_and_our_loop_give_the_logits_of_generate(name):
    """State that an earlier call left on the model does not change the result."""
    model, processor = tiny_family(name)
    inputs = padded(processor)
    tokens, logits = generate(model, inputs, NEW)
    generate(model, build_inputs(processor, [tiny.image(64, 20)], ["Other"]), 2)  # other deltas, batch of 1
    before = getattr(model.model, "rope_deltas", None)
    before = None if before is None else before.clone()
    layers = []
    prefilled = capture_prefill(model, inputs, lambda seen: layers.append(seen))
    torch.testing.assert_close(prefilled.logits, logits[0], atol=1e-5, rtol=0)
    out = run_cells(model, inputs, [FullKV()], max_new_tokens=NEW, stop=())
    assert out.tokens[0] == tokens.tolist()
    assert [layer.index for layer in layers] == list(range(shape(model).num_layers))
    if before is not None:
        assert torch.equal(model.model.rope_deltas, before)


def test_decode_step_at_true_positions_is_the_models_own_step():
    """One explicit step on a plain cache, for a family with three positions per token."""
    from transformers import DynamicCache

    model, processor = tiny_family("qwen2_vl")
    inputs = build_inputs(processor, [tiny.image()], ["Read it."])
    tokens, logits = generate(model, inputs, 2)
    positions, following = family_of(model).prefill_positions(model, inputs)
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(**inputs, position_ids=positions, past_key_values=cache, use_cache=True)
    with ragged_attention_in(model):
        step = decode_step(model, tokens[:, 0], following, cache)
    torch.testing.assert_close(step, logits[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", QWEN)
def test_qwen_asks_for_the_token_types(name):
    model, processor = tiny_family(name)
    inputs = build_inputs(processor, [tiny.image()], ["Read it."])
    inputs.pop("mm_token_type_ids")
    with pytest.raises(InputError, match="mm_token_type_ids is missing"):
        capture_prefill(model, inputs, lambda seen: None)


@pytest.mark.parametrize("name", QWEN)
def test_qwen_prompt_that_ends_in_an_image_is_refused(name):
    model, processor = tiny_family(name)
    inputs = build_inputs(processor, [tiny.image()], ["Read it."])
    last = int(inputs["mm_token_type_ids"][0].nonzero().max()) + 1
    for key in ("input_ids", "attention_mask", "mm_token_type_ids"):
        inputs[key] = inputs[key][:, :last]
    with pytest.raises(InputError, match="ends in an image"):
        capture_prefill(model, inputs, lambda seen: None)


@every_family
def test_prompt_without_image_has_text_positions(name):
    model, processor = tiny_family(name)
    inputs = build_inputs(processor, [[], []], ["Hello there.", "Hi."])
    tokens, _ = generate(model, inputs, NEW)
    out = run_cells(model, inputs, [FullKV()], max_new_tokens=NEW, stop=())
    assert out.tokens[0] == tokens.tolist()


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen3_vl", "llava_onevision", "internvl"])
def test_engine_equals_separate_runs_of_compress(name):
    model, processor = tiny_family(name)
    inputs = padded(processor)
    scores = torch.rand(2, 4, generator=torch.Generator().manual_seed(1)).double().numpy()
    policies = [
        FullKV(),
        SnapKV(24, window=8),
        make_policy("adakv", budget=24, window=8),
        make_policy("sparsemm", budget=24, window=8, scores=scores / scores.sum()),
    ]
    together = run_cells(model, inputs, policies, max_new_tokens=NEW, stop=())
    for index, policy in enumerate(policies):
        with compress(model, policy) as run:
            tokens, _ = generate(model, inputs, NEW)
        assert together.tokens[index] == tokens.tolist()
        assert torch.equal(together.kept[index].transpose(0, 1), run.kept)


@pytest.mark.parametrize("name", WITH_VIDEO)
def test_processor_without_video_goes_by_the_stock_name(name):
    _, processor = tiny_family(name)
    stock = type(processor).__mro__[1]
    assert type(processor).__name__ == stock.__name__
    assert "video_processor" not in type(processor).get_attributes()
    assert without_video(stock) is type(processor)


@pytest.mark.parametrize("name", WITH_VIDEO)
def test_stock_processor_gives_the_same_tensors(name, tmp_path):
    pytest.importorskip("torchvision", reason="the stock processors need torchvision")
    import transformers

    _, processor = tiny_family(name)
    stock = type(processor).__mro__[1]
    video = {
        "qwen3_vl": "Qwen3VLVideoProcessor",
        "llava_onevision": "LlavaOnevisionVideoProcessor",
        "internvl": "InternVLVideoProcessor",
    }.get(name, "Qwen2VLVideoProcessor")
    whole = stock(
        image_processor=processor.image_processor,
        tokenizer=processor.tokenizer,
        video_processor=getattr(transformers, video)(),
        chat_template=processor.chat_template,
        **{
            key: getattr(processor, key)
            for key in ("num_image_tokens", "vision_feature_select_strategy", "vision_aspect_ratio")
            if name == "llava_onevision"
        },
        **({"image_seq_length": processor.image_seq_length} if name == "internvl" else {}),
    )
    whole.save_pretrained(tmp_path)
    loaded = load_images_and_text(stock, tmp_path)
    assert type(loaded) is stock
    for other in (whole, loaded):
        ours, theirs = padded(processor), padded(other)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_families_are_named_without_importing_their_models():
    """Asking for a family must not load six modelling files."""
    import subprocess

    code = (
        "import sys; import sparsemm.families as f; assert len(f.FAMILIES) == 6; "
        "print([m for m in sys.modules if '.modeling_qwen' in m or '.modeling_internvl' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_processor_of_a_folder_without_image_part_is_one_line(tmp_path):
    model, processor = tiny_family("qwen2_vl")
    model.config.save_pretrained(tmp_path)
    processor.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="the processor cannot be built"):
        load_processor(tmp_path)
