"""The layout against the model itself: light a box of pixels and see which visual tokens change."""

from __future__ import annotations

import copy
import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor
from transformers.models.llava_next.modeling_llava_next import unpad_image

from sparsemm.errors import InputError
from sparsemm.families import make_layout
from sparsemm.families.llava_next import LlavaNextLayout

from helpers.tiny import PATCH, TILE, config, model, processor

PINPOINTS = [[32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]  # the shapes of the real model's list
SIZES = [
    (64, 64),
    (60, 40),
    (40, 60),
    (32, 96),
    (17, 90),
    (90, 17),
    (33, 65),
    (200, 31),
    (31, 200),
    (129, 127),
]
SIZES += [(1, 1), (3, 100), (100, 3), (1, 40), (40, 1), (500, 333), (64, 41), (41, 64), (95, 33), (7, 9)]


@cache
def local_model() -> LlavaNextForConditionalGeneration:
    """The tiny model with a vision tower whose attention adds nothing: a token sees only its own patch."""
    made = copy.deepcopy(model("mha"))
    made.config.image_grid_pinpoints = made.model.config.image_grid_pinpoints = PINPOINTS
    with torch.no_grad():
        for layer in made.model.vision_tower.encoder.layers:
            layer.self_attn.out_proj.weight.zero_()
            layer.self_attn.out_proj.bias.zero_()
    return made


@cache
def nearest_processor() -> LlavaNextProcessor:
    """The real processor with nearest-neighbour resampling, so that no pixel leaks into the next one."""
    made = copy.deepcopy(processor())
    made.image_processor.image_grid_pinpoints = PINPOINTS
    made.image_processor.resample = Image.Resampling.NEAREST
    return made


@torch.no_grad()
def features(pixels: np.ndarray) -> torch.Tensor:
    """[num_tokens, hidden] of one image [H, W, 3]."""
    batch = nearest_processor().image_processor(images=[Image.fromarray(pixels)], return_tensors="pt")
    (tokens,) = (
        local_model().model.get_image_features(batch["pixel_values"], batch["image_sizes"]).pooler_output
    )
    return tokens


def changed(height: int, width: int, box: tuple[int, int, int, int]) -> set[int]:
    """Tokens that change when the pixels of ``box`` are lit."""
    dark = np.full((height, width, 3), 40, dtype=np.uint8)
    lit = dark.copy()
    x0, y0, x1, y1 = box
    lit[y0:y1, x0:x1] = 220
    before, after = features(dark), features(lit)
    return set(torch.nonzero((before - after).abs().amax(-1) > 1e-5).flatten().tolist())


def boxes(height: int, width: int, count: int) -> list[tuple[int, int, int, int]]:
    rng = np.random.default_rng(height * 1009 + width)
    made = [(0, 0, width, height), (0, 0, 1, 1), (width - 1, height - 1, width, height)]
    for _ in range(count):
        (x0, x1), (y0, y1) = (sorted(rng.choice(n + 1, 2, replace=False)) for n in (width, height))
        made.append((int(x0), int(y0), int(x1), int(y1)))
    return made


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_lit_tokens_lie_in_the_box_and_fill_its_inside(width: int, height: int) -> None:
    """Exact to the sampling of the resize: a token of the box stays dark only where no pixel is sampled."""
    layout = LlavaNextLayout(local_model().config, (height, width))
    for box in boxes(height, width, 4):
        lit = changed(height, width, box)
        assert lit <= set(layout.tokens(box, "all"))
        for token in set(layout.tokens(box, "all")) - lit:
            x0, y0, x1, y1 = layout.pixels(token)  # type: ignore[misc]
            # what is left of the box there is thinner than one resized pixel
            overlap_x = min(x1, box[2]) - max(x0, box[0])
            overlap_y = min(y1, box[3]) - max(y0, box[1])
            assert overlap_x < (x1 - x0) / PATCH or overlap_y < (y1 - y0) / PATCH


@pytest.mark.parametrize(
    ("width", "height"), [(64, 64), (64, 32), (32, 64), (64, 41), (41, 64), (64, 57), (59, 64)]
)
def test_lit_tokens_are_the_boxes_tokens_where_nothing_is_resized(width: int, height: int) -> None:
    layout = LlavaNextLayout(local_model().config, (height, width))
    for box in boxes(height, width, 8):
        lit = {token for token in changed(height, width, box) if token >= layout.base_tokens}
        assert sorted(lit) == layout.tokens(box, "released")


@pytest.mark.parametrize(("width", "height"), [(32, 32), (64, 64), (16, 8)])
def test_base_tokens_are_exact_where_the_squash_is_whole(width: int, height: int) -> None:
    layout = LlavaNextLayout(local_model().config, (height, width))
    for x in range(0, width, 4):
        box = (x, 0, x + 4, min(4, height))
        lit = {token for token in changed(height, width, box) if token < layout.base_tokens}
        assert sorted(lit) == [t for t in layout.tokens(box, "all") if t < layout.base_tokens]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_counts_equal_processor_and_model(width: int, height: int) -> None:
    layout = make_layout(nearest_processor(), (height, width))
    counted = nearest_processor()._get_num_multimodal_tokens(image_sizes=[(height, width)]).num_image_tokens
    assert [layout.num_tokens] == list(counted)
    assert len(features(np.zeros((height, width, 3), np.uint8))) == layout.num_tokens


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.data())
def test_any_size_and_box(height: int, width: int, data: st.DataObject) -> None:
    layout = LlavaNextLayout(nearest_processor(), (height, width))
    counted = nearest_processor()._get_num_multimodal_tokens(image_sizes=[(height, width)]).num_image_tokens
    assert [layout.num_tokens] == list(counted)
    low = data.draw(st.tuples(st.floats(0, width * 0.99), st.floats(0, height * 0.99)))
    x1 = data.draw(st.floats(low[0], width, exclude_min=True))
    y1 = data.draw(st.floats(low[1], height, exclude_min=True))
    box = (*low, x1, y1)
    every, released = layout.tokens(box, "all"), layout.tokens(box, "released")
    assert every == sorted(set(every))
    assert set(released) == {t for t in every if t >= layout.base_tokens}
    assert set(every) - set(released)  # the base image is never cropped
    for token in every:
        assert 0 <= token < layout.num_tokens
        assert token < layout.base_tokens or layout.cell(token) is not None  # never a newline
        a0, b0, a1, b1 = layout.pixels(token)  # type: ignore[misc]
        slack = 1e-9 * max(width, height)
        assert a0 < x1 + slack
        assert a1 > low[0] - slack
        assert b0 < y1 + slack
        assert b1 > low[1] - slack


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 2000), st.integers(1, 2000))
def test_whole_image_covers_the_grid_and_crop_equals_unpad_image(height: int, width: int) -> None:
    layout = LlavaNextLayout(nearest_processor(), (height, width))
    grid_rows, grid_cols = layout.grid
    whole = layout.tokens((0, 0, width, height), "released")
    cells = {layout.cell(token) for token in whole}
    assert len(whole) == len(cells) <= grid_rows * grid_cols
    best = max(PINPOINTS, key=lambda p: _fit(p, height, width))
    stitched = torch.zeros(1, best[0] // PATCH, best[1] // PATCH)
    assert tuple(unpad_image(stitched, (height, width)).shape[1:]) == layout.grid


def _fit(pinpoint: list[int], height: int, width: int) -> tuple[int, int]:
    scale = min(pinpoint[1] / width, pinpoint[0] / height)
    return min(int(width * scale) * int(height * scale), width * height), -pinpoint[0] * pinpoint[1]


def test_real_model_480_by_640_has_2340_tokens() -> None:
    real = config("mha")
    real.vision_config.image_size, real.vision_config.patch_size = 336, 14
    real.image_grid_pinpoints = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    layout = LlavaNextLayout(real, (480, 640))
    assert (layout.base_tokens, layout.grid, layout.num_tokens) == (576, (36, 48), 2340)
    assert layout.tokens((0, 0, 1, 1), "all") == [0, 576]
    assert layout.tokens((639, 479, 640, 480), "released") == [576 + 35 * 49 + 47]


def test_grid_values_and_positions() -> None:
    layout = LlavaNextLayout(processor(), (40, 60))
    rows, cols = layout.grid
    values = layout.grid_values(np.arange(layout.num_tokens))
    assert values.shape == (rows, cols)
    for token in range(layout.num_tokens):
        cell = layout.cell(token)
        assert cell is None or values[cell] == token
    ids = [9] * 5 + [4] * layout.num_tokens + [8] * 3
    assert layout.positions(torch.tensor(ids), 4).tolist() == list(range(5, 5 + layout.num_tokens))
    with pytest.raises(InputError, match="image tokens where"):
        layout.positions(torch.tensor(ids[:-4]), 4)


def test_base_and_high_res_agree_where_the_tile_is_square() -> None:
    layout = LlavaNextLayout(processor(), (64, 64))
    assert layout.base_grid == (TILE // PATCH, TILE // PATCH)
    assert layout.grid == (8, 8)
    assert layout.pixels(0) == (0.0, 0.0, 16.0, 16.0)
    assert layout.pixels(layout.base_tokens) == (0.0, 0.0, 8.0, 8.0)
    assert layout.pixels(layout.base_tokens + 8) is None  # a newline


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((0, 0, 0, 5), "zero area"),
        ((5, 5, 2, 9), "zero area"),
        ((-1, 0, 5, 5), "outside"),
        ((0, 0, 61, 5), "outside"),
        ((0, 0, math.nan, 5), "finite"),
        ((0, 0, math.inf, 5), "finite"),
        ((0, 0, 5), "four"),
    ],
)
def test_bad_boxes_get_one_line(box: tuple[float, ...], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        LlavaNextLayout(processor(), (40, 60)).tokens(box)
    assert "\n" not in str(caught.value)


def test_bad_image_convention_token_and_source() -> None:
    with pytest.raises(InputError, match="zero area"):
        LlavaNextLayout(processor(), (0, 60))
    layout = LlavaNextLayout(processor(), (40, 60))
    with pytest.raises(InputError, match="released, all"):
        layout.tokens((0, 0, 1, 1), "base")
    with pytest.raises(InputError, match="image token"):
        layout.cell(layout.num_tokens)
    with pytest.raises(InputError, match="layout is not known"):
        make_layout(object(), (40, 60))
