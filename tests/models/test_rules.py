"""The rule sets' chat formats and images: exact strings, pixels equal to those made by hand, limits, their record."""

from __future__ import annotations

import io
import json
from functools import cache

import pytest
import torch
from PIL import Image

from sparsemm.errors import InputError
from sparsemm.families import make_layout
from sparsemm.heads.patch_map import PatchMap, map_patches
from sparsemm.heads.probe import ProbeImage
from sparsemm.models import (
    ImageLimits,
    build_inputs,
    image_limits,
    limits_note,
    load_model,
    load_processor,
    shape,
)
from sparsemm.models.loading import render

from helpers import rule_models, tiny

VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: <image>\n{text} ASSISTANT:"
)
MISTRAL = "[INST] <image>\n{text} [/INST]"
QWEN = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    "<|vision_start|><|image_pad|><|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"
)
EXPECTED = {
    ("vicuna", "paper"): VICUNA,
    ("vicuna", "current"): "USER: <image>\n{text} ASSISTANT:",
    ("mistral", "paper"): MISTRAL,
    ("mistral", "current"): MISTRAL,
    ("qwen2_vl", "paper"): QWEN,
    ("qwen2_vl", "current"): QWEN,
}
TEXTS = [
    "What is the name?\nAnswer the question using a single word or phrase.",
    "Which?There are several options:\nA. a\nB. b\n\nAnswer with the option's letter from the given choices directly.",
    "  spaces around,\ttabs and a last line \n\n",
    "{{ braces }} {% and %} <tags> & 'quotes' \"too\"",
]
EDGES = {"paper": (25_088, 12_845_056), "current": (3_136, 602_112)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("kinds")
    return cache(lambda kind: rule_models.save_processor(root / kind, kind))


def ruled(folder, kind, rules, **limits):
    return load_processor(folder(kind), prompt="rules", rules=rules, images=ImageLimits(**limits))


@pytest.mark.parametrize(("kind", "rules"), EXPECTED)
@pytest.mark.parametrize("text", TEXTS)
def test_rendered_string_is_exact(folder, kind, rules, text):
    assert render(ruled(folder, kind, rules), text) == EXPECTED[kind, rules].replace("{text}", text)


@pytest.mark.parametrize("rules", ["paper", "current"])
@pytest.mark.parametrize("text", TEXTS)
def test_qwens_string_is_its_own_templates_with_the_system_turn(folder, rules, text):
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
    system = {"role": "system", "content": "You are a helpful assistant."}
    own = rule_models.processor("qwen2_vl")
    theirs = [own.apply_chat_template(chat, add_generation_prompt=True) for chat in ([system, user], [user])]
    assert theirs == [render(ruled(folder, "qwen2_vl", rules), text)] * 2


@pytest.mark.parametrize("kind", rule_models.KINDS)
def test_template_is_the_processors_own_without_rules(folder, kind):
    loaded, own = load_processor(folder(kind)), rule_models.processor(kind)
    assert (render(loaded, "hi"), image_limits(loaded)) == (render(own, "hi"), image_limits(own))
    ours, theirs = (build_inputs(each, [tiny.image(50, 70)], ["hi"]) for each in (loaded, own))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("rules", ["paper", "current"])
@pytest.mark.parametrize("kind", ["vicuna", "mistral"])
def test_bos_comes_once(folder, kind, rules):
    made = build_inputs(ruled(folder, kind, rules), [tiny.image()], ["Read."])
    ids = made["input_ids"][0].tolist()
    assert ids[0] == 1
    assert ids.count(1) == 1


def test_bos_comes_once_from_a_tokenizer_that_adds_none(tmp_path):
    tiny.processor().save_pretrained(tmp_path)
    tiny.config("mha").save_pretrained(tmp_path)
    processor = load_processor(tmp_path, prompt="rules")
    ids = build_inputs(processor, [tiny.image()], ["Read."])["input_ids"][0].tolist()
    assert (ids[0], ids.count(1)) == (1, 1)
    assert render(processor, "hi").removeprefix("<s>") == VICUNA.replace("{text}", "hi")


def by_hand(image: Image.Image, size: tuple[int, int], **options: int) -> Image.Image:
    """What the authors' wrapper and qwen_vl_utils do, to a size (width, height) that the test states."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="JPEG", **options)
    return Image.open(buffer).convert("RGB").resize(size)


@pytest.mark.parametrize(
    ("rules", "size", "first"),
    [
        ("paper", (300, 200), (308, 196)),
        ("paper", (100, 60), (112, 56)),  # the processor enlarges it again, to 25,088 px
        ("paper", (20, 20), (56, 56)),
        ("paper", (10, 700), (28, 700)),
        ("paper", (1700, 1100), (1708, 1092)),
        ("current", (300, 200), (308, 196)),
        ("current", (100, 60), (112, 56)),
        ("current", (1700, 1100), (952, 616)),
    ],
)
def test_qwens_pixels_are_those_made_by_hand(folder, rules, size, first):
    image = tiny.image(*size)
    prepared = by_hand(image, first, **({} if rules == "paper" else {"quality": 85}))
    least, most = EDGES[rules]
    stock = rule_models.processor("qwen2_vl").image_processor
    theirs = stock([prepared], size={"shortest_edge": least, "longest_edge": most}, return_tensors="pt")
    ours = build_inputs(ruled(folder, "qwen2_vl", rules), [image], ["Read."])
    assert torch.equal(ours["image_grid_thw"], theirs["image_grid_thw"])
    assert torch.equal(ours["pixel_values"], theirs["pixel_values"])
    raw = stock([image], size={"shortest_edge": least, "longest_edge": most}, return_tensors="pt")
    if raw["pixel_values"].shape == theirs["pixel_values"].shape:
        assert not torch.equal(raw["pixel_values"], theirs["pixel_values"])  # so JPEG is seen


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
@pytest.mark.parametrize("kind", ["vicuna", "qwen2_vl"])
def test_images_of_any_mode_become_rgb(folder, kind, mode):
    image = tiny.image(80, 120).convert(mode)
    processor = ruled(folder, kind, "paper")
    ours, theirs = (build_inputs(processor, [each], ["Read."]) for each in (image, image.convert("RGB")))
    assert torch.equal(ours["pixel_values"], theirs["pixel_values"])


@pytest.mark.parametrize("rules", ["paper", "current"])
def test_llavas_pixels_are_the_stock_processors(folder, rules):
    image = tiny.image(640, 480)
    stock = rule_models.processor("vicuna").image_processor([image], return_tensors="pt")
    ours = build_inputs(ruled(folder, "vicuna", rules), [image], ["Read."])
    assert torch.equal(ours["pixel_values"], stock["pixel_values"])
    assert int((ours["input_ids"] == 4).sum()) == 2340


def test_limits_are_recorded_and_compared_with_the_papers(folder):
    paper, current = (ruled(folder, "qwen2_vl", rules) for rules in EDGES)
    assert image_limits(paper) == {
        "min_pixels": 25_088,
        "max_pixels": 12_845_056,
        "jpeg_quality": 75,
        "first_resize": (3_136, 12_845_056),
    }
    assert limits_note(paper) == ""
    assert image_limits(current)["first_resize"] == (3_136, 602_112)
    assert limits_note(current) == (
        "image limits differ from the paper's: min_pixels 3,136 in place of 25,088; max_pixels 602,112 in place of "
        "12,845,056; jpeg_quality 85 in place of 75; first_resize [3136, 602112] in place of [3136, 12845056]"
    )
    vicuna = ruled(folder, "vicuna", "paper")
    assert image_limits(vicuna)["pinpoints"] == rule_models.PINPOINTS
    assert limits_note(vicuna) == ""
    json.dumps(image_limits(vicuna))


def test_configured_limits_override_the_processors(folder):
    """Under `paper` the first resize keeps its own limits, under `current` both take them."""
    paper = ruled(folder, "qwen2_vl", "paper", max_pixels=100_000)
    assert image_limits(paper)["max_pixels"] == 100_000
    assert paper.preparation.first_resize == (3_136, 12_845_056)
    current = ruled(folder, "qwen2_vl", "current", min_pixels=50_176, max_pixels=1_003_520)
    assert current.preparation.first_resize == (50_176, 1_003_520)
    assert image_limits(current)["min_pixels"] == 50_176
    plain = load_processor(folder("qwen2_vl"), images=ImageLimits(min_pixels=10_000))
    assert image_limits(plain) == {"min_pixels": 10_000, "max_pixels": 28 * 28 * 1280}
    vicuna = ruled(folder, "vicuna", "paper", pinpoints=[[336, 336], [336, 672]])
    assert image_limits(vicuna)["pinpoints"] == [[336, 336], [336, 672]]
    assert "pinpoints [[336, 336], [336, 672]] in place of" in limits_note(vicuna)


@pytest.mark.parametrize(
    ("kind", "limits", "said"),
    [
        ("vicuna", {"min_pixels": 10}, "min_pixels: llava_next has no such limit"),
        ("vicuna", {"pinpoints": [[336, 600]]}, "not whole tiles of 336 px"),
        ("qwen2_vl", {"pinpoints": [[336, 336]]}, "pinpoints: qwen2_vl has no such limit"),
        ("qwen2_vl", {"max_pixels": 1000}, "min_pixels: 25088 is above max_pixels 1000"),
    ],
)
def test_limits_that_do_not_fit_are_one_line(folder, kind, limits, said):
    with pytest.raises(InputError, match=said) as caught:
        ruled(folder, kind, "paper", **limits)
    assert "\n" not in str(caught.value)


def test_unknown_rules_and_prompt_are_one_line(folder):
    with pytest.raises(InputError, match="rules 'papr' is not known: choose from paper, current"):
        load_processor(folder("vicuna"), prompt="rules", rules="papr")
    with pytest.raises(InputError, match="prompt 'rule' is not known"):
        load_processor(folder("vicuna"), prompt="rule")


def test_images_that_cannot_be_prepared_are_one_line(folder):
    processor = ruled(folder, "qwen2_vl", "paper")
    for size, said in [((1, 300), "aspect ratio"), ((65_501, 400), "cannot be saved as JPEG")]:
        with pytest.raises(InputError, match=said) as caught:
            build_inputs(processor, [Image.new("RGB", size)], ["Read."])
        assert "\n" not in str(caught.value)


def test_model_and_processor_agree_on_the_papers_grid(tmp_path):
    """The tiny model's own list has no 3 x 1 tiles; the rule set's has, in tiles of the model."""
    tiny.model("mha").save_pretrained(tmp_path)
    tiny.processor().save_pretrained(tmp_path)
    own, loaded = load_model(tmp_path), load_model(tmp_path, prompt="rules")
    tile = tiny.TILE
    assert image_limits(own.processor)["pinpoints"] == tiny.PINPOINTS
    assert image_limits(loaded.processor)["pinpoints"][-1] == [tile, 3 * tile]
    image = tiny.image(3 * tile, tile)
    counts = []
    for each in (own, loaded):
        inputs = build_inputs(each, [image], ["Read."])
        counts.append(int((inputs["input_ids"] == shape(each.model).image_token_id).sum()))
        each.model.generate(**inputs, max_new_tokens=1, do_sample=False)  # refuses tokens that do not fit
        assert make_layout(each.model.config, (tile, 3 * tile)).num_tokens == counts[-1]
    assert counts[1] == 16 + 4 * (12 + 1)
    assert counts[0] != counts[1]


@pytest.mark.parametrize("kind", rule_models.KINDS)
def test_patch_map_follows_the_rules(folder, kind):
    """The same words in the prompts of both rule sets, and another digest."""
    item = ProbeImage("a", tiny.image(1200, 900), ["one"], [(300.0, 300.0, 500.0, 420.0)])
    maps: dict[str, PatchMap] = {}
    for rules in ("paper", "current"):
        processor = ruled(folder, kind, rules)
        maps[rules] = map_patches(processor, [item])
        (word,) = maps[rules].words_of(item)
        ids = build_inputs(processor, [item.image], ["Read it."])["input_ids"][0]
        assert (ids[word.prompt_positions] == processor.image_token_id).all()
        x0, y0, x1, y1 = word.cells.T
        assert 250 < x0.min() <= 300
        assert 250 < y0.min() <= 300
        assert 500 <= x1.max() < 550
        assert 420 <= y1.max() < 470
    assert (maps["paper"].digest() != maps["current"].digest()) == (kind != "mistral")
