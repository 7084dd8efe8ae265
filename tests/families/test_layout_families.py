"""The layout of every family against its model: light a box of pixels and see which visual tokens change.

Attention in the vision tower would spread the change over all tokens (Qwen2.5-VL's over a window), so its output
projection is zeroed: a token then sees its own patches only, through embedding, MLPs and merger, which are all the
model's own. The image is resampled by nearest neighbour, so that no pixel leaks into the next one. What is left is the
order of patches, tiles, merging, cropping and shrinking: what the layout claims to know.
"""

from __future__ import annotations

import copy
import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sparsemm.errors import InputError
from sparsemm.families import make_layout

from helpers.tiny_families import CELL, FAMILY_NAMES, PINPOINTS, TILE, tiny_family

NAMES = FAMILY_NAMES[1:]  # the two LLaVA-NeXT rows differ in their text only
QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
SIZES = [(64, 64), (60, 40), (40, 60), (17, 90), (90, 17), (129, 127), (128, 128), (200, 140), (9, 33)]
_OUTPUTS = ("attn.proj", "self_attn.out_proj", "attention.projection_layer")


@cache
def local_model(name):
    """The tiny model with a vision tower whose attention adds nothing."""
    model = copy.deepcopy(tiny_family(name)[0])
    silenced = 0
    with torch.no_grad():
        for key, module in model.named_modules():
            if "language_model" not in key and key.endswith(_OUTPUTS):
                module.weight.zero_()
                module.bias.zero_()
                silenced += 1
        if name == "internvl":
            for key, parameter in model.named_parameters():
                if "lambda_2" in key or "multi_modal_projector.linear" in key:
                    parameter.mul_(4)  # signal far above float noise
    assert silenced >= 2
    return model


@cache
def nearest_processor(name):
    processor = copy.deepcopy(tiny_family(name)[1])
    processor.image_processor.resample = Image.Resampling.NEAREST
    return processor


@torch.no_grad()
def features(name, pixels):
    """[num_tokens, hidden] of one image [H, W, 3], in the order of the prompt."""
    processor, model = nearest_processor(name), local_model(name)
    inputs = processor(images=[[Image.fromarray(pixels)]], text=[_image_token(name)], return_tensors="pt")
    wanted = ("pixel_values", "image_sizes", "image_grid_thw", "batch_num_images")
    given = {key: inputs[key] for key in wanted if key in inputs}
    if name == "internvl":
        given |= {"vision_feature_layer": -1, "vision_feature_select_strategy": "default"}
    out = model.model.get_image_features(**given, return_dict=True).pooler_output
    tokens = torch.cat(list(out)) if isinstance(out, (list, tuple)) else out
    return tokens.reshape(-1, tokens.shape[-1])


def _image_token(name):
    return {"internvl": "<IMG_CONTEXT>"}.get(name, "<|image_pad|>" if name in QWEN else "<image>")


def changed(name, height, width, box):
    """Tokens that change when the pixels of ``box`` are lit."""
    dark = np.full((height, width, 3), 40, dtype=np.uint8)
    lit = dark.copy()
    x0, y0, x1, y1 = box
    lit[y0:y1, x0:x1] = 220
    before, after = features(name, dark), features(name, lit)
    return set(torch.nonzero((before - after).abs().amax(-1) > 1e-5).flatten().tolist())


def boxes(height, width, count):
    rng = np.random.default_rng(height * 1009 + width)
    made = [(0, 0, width, height), (0, 0, 1, 1), (width - 1, height - 1, width, height)]
    for _ in range(count):
        (x0, x1), (y0, y1) = (sorted(rng.choice(n + 1, 2, replace=False)) for n in (width, height))
        made.append((int(x0), int(y0), int(x1), int(y1)))
    return made


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_lit_tokens_lie_in_the_box_and_fill_its_inside(name, width, height):
    """Exact to the sampling of the resize: a token of the box stays dark only where no pixel is sampled."""
    layout = make_layout(nearest_processor(name), (height, width))
    for box in boxes(height, width, 4):
        lit, claimed = changed(name, height, width, box), set(layout.tokens(box, "all"))
        assert lit <= claimed
        for token in claimed - lit:
            x0, y0, x1, y1 = layout.pixels(token)
            # what is left of the box there is thinner than one resized pixel, of which a cell has at least CELL
            overlap_x = min(x1, box[2]) - max(x0, box[0])
            overlap_y = min(y1, box[3]) - max(y0, box[1])
            assert overlap_x < (x1 - x0) / CELL or overlap_y < (y1 - y0) / CELL


@pytest.mark.parametrize("name", NAMES)
def test_lit_tokens_are_the_boxes_tokens_where_nothing_is_resized(name):
    """Every cell by itself, and boxes across cells, on an image that fits a whole number of cells and tiles."""
    side = 2 * TILE
    layout = make_layout(nearest_processor(name), (side, side))
    assert layout.grid == (side // CELL, side // CELL)
    cells = [(x, y, x + 1, y + 1) for x in range(3, side, 2 * CELL) for y in range(5, side, 3 * CELL)]
    for box in [*cells, *boxes(side, side, 6)]:
        lit = {token for token in changed(name, side, side, box) if layout.cell(token) is not None}
        assert sorted(lit) == layout.tokens(box, "released")


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_in_reading_order_of_the_image(name):
    """A cell's place in the grid is its place in the image."""
    layout = make_layout(nearest_processor(name), (64, 64))
    for row in range(8):
        for col in range(8):
            (token,) = layout.tokens((col * 8 + 1, row * 8 + 1, col * 8 + 2, row * 8 + 2))
            assert layout.cell(token) == (row, col)
            assert layout.pixels(token) == (col * 8, row * 8, col * 8 + 8, row * 8 + 8)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_counts_equal_processor_prompt_and_model(name, width, height):
    processor = nearest_processor(name)
    layout = make_layout(processor, (height, width))
    picture = Image.new("RGB", (width, height))
    ids = processor(images=[[picture]], text=[_image_token(name)], return_tensors="pt")["input_ids"][0]
    assert len(layout.positions(ids, processor.image_token_id)) == layout.num_tokens
    assert len(features(name, np.zeros((height, width, 3), np.uint8))) == layout.num_tokens


def side_of(name):
    return st.integers(20, 1200) if name in QWEN else st.integers(1, 3000)  # Qwen refuses ratios above 200


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_size_and_box(name, data):
    processor = nearest_processor(name)
    height, width = data.draw(side_of(name)), data.draw(side_of(name))
    layout = make_layout(processor, (height, width))
    (counted,) = processor._get_num_multimodal_tokens(image_sizes=[(height, width)]).num_image_tokens
    assert layout.num_tokens == counted - (
        2 if name == "internvl" else 0
    )  # InternVL counts its <img>, </img>
    low = data.draw(st.tuples(st.floats(0, width * 0.99), st.floats(0, height * 0.99)))
    x1 = data.draw(st.floats(low[0], width, exclude_min=True))
    y1 = data.draw(st.floats(low[1], height, exclude_min=True))
    box = (*low, x1, y1)
    every, released = layout.tokens(box, "all"), layout.tokens(box, "released")
    assert every == sorted(set(every))
    assert set(released) == {token for token in every if layout.cell(token) is not None}
    for token in every:
        a0, b0, a1, b1 = layout.pixels(token)  # never a newline
        slack = 1e-9 * max(width, height)
        assert a0 < x1 + slack
        assert a1 > low[0] - slack
        assert b0 < y1 + slack
        assert b1 > low[1] - slack


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_grid_values_put_every_token_in_its_cell(name, data):
    layout = make_layout(
        nearest_processor(name), (data.draw(st.integers(20, 300)), data.draw(st.integers(20, 300)))
    )
    values = layout.grid_values(np.arange(1, layout.num_tokens + 1))
    places = [layout.cell(token) for token in range(layout.num_tokens)]
    assert sum(place is not None for place in places) == math.prod(layout.grid)
    for token, place in enumerate(places):
        assert place is None or values[place] == token + 1


def test_large_onevision_grid_is_shrunk():
    layout = make_layout(nearest_processor("llava_onevision"), (128, 128))
    assert layout.grid == (8, 8)  # 16 x 16 in tiles, of which only four tiles' worth may stay
    assert layout.num_tokens == 16 + 8 * 9
    assert layout.pixels(16) == (0.0, 0.0, 16.0, 16.0)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_what_is_left_of_a_tile_after_whole_patches_is_not_seen(width, height):
    """As in SigLIP's 384 px tiles of 27 x 27 patches of 14 px: each tile loses its last pixels, not the image."""
    processor = copy.deepcopy(nearest_processor("llava_onevision"))
    model = copy.deepcopy(local_model("llava_onevision"))
    tile = TILE + 3
    points = [[rows * tile // TILE, cols * tile // TILE] for rows, cols in PINPOINTS]
    processor.image_processor.size = {"height": tile, "width": tile}
    processor.image_processor.image_grid_pinpoints = points
    for config in (model.config, model.model.config):
        config.image_grid_pinpoints, config.vision_config.image_size = points, tile
    layout = make_layout(processor, (height, width))
    assert layout.num_tokens == make_layout(model.config, (height, width)).num_tokens

    def run(pixels):
        inputs = processor(images=[[Image.fromarray(pixels)]], text=["<image>"], return_tensors="pt")
        wanted = {key: inputs[key] for key in ("pixel_values", "image_sizes", "batch_num_images")}
        with torch.no_grad():
            return torch.cat(list(model.model.get_image_features(**wanted).pooler_output))

    dark = np.full((height, width, 3), 40, dtype=np.uint8)
    for x0, y0, x1, y1 in boxes(height, width, 6):
        lit = dark.copy()
        lit[y0:y1, x0:x1] = 220
        seen = (run(dark) - run(lit)).abs().amax(-1) > 1e-5
        found, claimed = set(seen.nonzero().flatten().tolist()), set(layout.tokens((x0, y0, x1, y1), "all"))
        assert found <= claimed
        for token in claimed - found:
            a0, b0, a1, b1 = layout.pixels(token)
            overlap_x, overlap_y = min(a1, x1) - max(a0, x0), min(b1, y1) - max(b0, y0)
            assert overlap_x < (a1 - a0) / CELL or overlap_y < (b1 - b0) / CELL


def test_shrunk_tokens_share_pixels():
    """Between whole ratios neighbours are interpolated: a token's pixels overlap the next one's."""
    layout = make_layout(nearest_processor("llava_onevision"), (128, 72))
    rows, cols = layout.grid
    assert (rows, cols) == (10, 6)  # of 16 x 9
    spans = [layout.pixels(16 + row * (cols + 1)) for row in range(rows)]
    assert any(above[3] > below[1] for above, below in pairwise(spans))


def test_internvl_tiles_then_thumbnail():
    layout = make_layout(nearest_processor("internvl"), (32, 64))
    assert (layout.grid, layout.num_tokens) == ((4, 8), 3 * 16)
    assert layout.cell(16) == (0, 4)
    assert layout.cell(32) is None
    assert layout.pixels(32) == (0.0, 0.0, 16.0, 8.0)
    single = make_layout(nearest_processor("internvl"), (32, 32))
    if single.num_tokens == 16:
        assert single.tokens((0, 0, 1, 1), "released") == [0]


@pytest.mark.parametrize("name", [*QWEN, "internvl"])
def test_a_config_without_sizes_is_refused(name):
    with pytest.raises(InputError, match="give the processor"):
        make_layout(tiny_family(name)[0].config, (40, 60))


def test_onevision_config_equals_its_processor():
    model, processor = tiny_family("llava_onevision")
    for size in [(40, 60), (128, 128), (200, 30)]:
        ours, theirs = make_layout(model.config, size), make_layout(processor, size)
        assert (ours.num_tokens, ours.grid) == (theirs.num_tokens, theirs.grid)


@pytest.mark.parametrize("name", QWEN)
def test_qwen_refuses_slivers_in_one_line(name):
    with pytest.raises(InputError, match="aspect ratio") as caught:
        make_layout(nearest_processor(name), (1, 300))
    assert "\n" not in str(caught.value)


def test_qwen_limits_are_the_processors():
    """As the paper's Qwen2-VL: 28 px cells, resized to whole ones within the pixel limits."""
    processor = copy.deepcopy(tiny_family("qwen2_vl")[1])
    processor.image_processor.patch_size = 14
    processor.image_processor.size = {"shortest_edge": 4 * 28**2, "longest_edge": 16 * 28**2}
    assert make_layout(processor, (280, 560)).grid == (2, 5)
    processor.image_processor.size = {"shortest_edge": 4 * 28**2, "longest_edge": 16384 * 28**2}
    assert make_layout(processor, (280, 560)).grid == (10, 20)
    assert make_layout(processor, (28, 28)).num_tokens >= 4
