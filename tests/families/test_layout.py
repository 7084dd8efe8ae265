"""What holds for the image layout of every family, against the model itself: which tokens see which pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemm.families import make_layout

from helpers.lit_pixels import QWEN, SIZES, assert_lit, boxes, local
from helpers.tiny_families import CELL, FAMILY_NAMES, TILE

LLAVA_NEXT, *OTHERS = NAMES = FAMILY_NAMES[1:]  # the two LLaVA-NeXT models differ in their text only
MORE_SIZES = [
    (32, 96),
    (33, 65),
    (200, 31),
    (31, 200),
    (1, 1),
    (3, 100),
    (100, 3),
    (1, 40),
    (40, 1),
    (500, 333),
]
MORE_SIZES += [(64, 41), (41, 64), (95, 33), (7, 9)]
# Neither resized nor squashed: whole tiles; in LLaVA-NeXT also images that are padded to them.
SIDE = 2 * TILE
EXACT = [(name, SIDE, SIDE) for name in NAMES]
EXACT += [(LLAVA_NEXT, *size) for size in [(64, 32), (32, 64), (64, 41), (41, 64), (64, 57), (59, 64)]]

every_size = pytest.mark.parametrize(
    ("name", "width", "height"),
    [(name, *size) for name in NAMES for size in SIZES] + [(LLAVA_NEXT, *size) for size in MORE_SIZES],
)


@every_size
def test_lit_tokens_lie_in_the_box_and_fill_its_inside(name, width, height):
    layout = make_layout(local(name).processor, (height, width))
    for box in boxes(height, width, 4):
        assert_lit(local(name), layout, height, width, box, CELL)


@pytest.mark.parametrize(("name", "width", "height"), EXACT)
def test_lit_tokens_are_the_boxes_tokens_where_nothing_is_resized(name, width, height):
    """Single pixels in many cells, and boxes across cells."""
    layout = make_layout(local(name).processor, (height, width))
    pixels = [(x, y, x + 1, y + 1) for x in range(3, width, 2 * CELL) for y in range(5, height, 3 * CELL)]
    for box in [*pixels, *boxes(height, width, 8)]:
        lit = {token for token in local(name).changed(height, width, box) if layout.cell(token) is not None}
        assert sorted(lit) == layout.tokens(box, "released")


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_in_reading_order_of_the_image(name):
    """A cell's place in the grid is its place in the image."""
    layout = make_layout(local(name).processor, (SIDE, SIDE))
    assert layout.grid == (SIDE // CELL, SIDE // CELL)
    for row in range(layout.grid[0]):
        for col in range(layout.grid[1]):
            x, y = col * CELL, row * CELL
            (token,) = layout.tokens((x + 1, y + 1, x + 2, y + 2))
            assert layout.cell(token) == (row, col)
            assert layout.pixels(token) == (x, y, x + CELL, y + CELL)


@every_size
def test_counts_equal_processor_prompt_and_model(name, width, height):
    processor, pixels = local(name).processor, np.zeros((height, width, 3), np.uint8)
    layout = make_layout(processor, (height, width))
    ids = local(name).prompt(pixels)["input_ids"][0]
    assert len(layout.positions(ids, processor.image_token_id)) == layout.num_tokens
    assert len(local(name).features(pixels)) == layout.num_tokens


def check_any_box(name: str, data: st.DataObject) -> None:
    """Count and order of the tokens of a drawn box on an image of drawn size."""
    sides = st.integers(20, 1200) if name in QWEN else st.integers(1, 3000)  # Qwen refuses ratios above 200
    height, width = data.draw(sides), data.draw(sides)
    processor = local(name).processor
    layout = make_layout(processor, (height, width))
    (counted,) = processor._get_num_multimodal_tokens(image_sizes=[(height, width)]).num_image_tokens
    assert layout.num_tokens == counted - (2 if name == "internvl" else 0)  # it counts <img> and </img>
    low = data.draw(st.tuples(st.floats(0, width * 0.99), st.floats(0, height * 0.99)))
    x1 = data.draw(st.floats(low[0], width, exclude_min=True))
    y1 = data.draw(st.floats(low[1], height, exclude_min=True))
    box = (*low, x1, y1)
    every, released = layout.tokens(box, "all"), layout.tokens(box, "released")
    assert every == sorted(set(every))
    assert set(released) == {token for token in every if layout.cell(token) is not None}
    slack = 1e-9 * max(width, height)
    for token in every:
        assert 0 <= token < layout.num_tokens
        seen = layout.pixels(token)
        assert seen is not None  # never a newline
        assert seen[0] < x1 + slack
        assert seen[2] > low[0] - slack
        assert seen[1] < y1 + slack
        assert seen[3] > low[1] - slack
    if name == LLAVA_NEXT:
        assert set(every) > set(released)  # the base image is never cropped
        assert set(released) == {token for token in every if token >= layout.base_tokens}


@pytest.mark.parametrize("name", OTHERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_size_and_box(name, data):
    check_any_box(name, data)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_size_and_box_in_llava_next(data):
    check_any_box(LLAVA_NEXT, data)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(st.integers(20, 300), st.integers(20, 300))
def test_grid_values_put_every_token_in_its_cell(name, height, width):
    layout = make_layout(local(name).processor, (height, width))
    values = layout.grid_values(np.arange(1, layout.num_tokens + 1))
    assert values.shape == layout.grid
    places = [layout.cell(token) for token in range(layout.num_tokens)]
    assert sum(place is not None for place in places) == math.prod(layout.grid)
    for token, place in enumerate(places):
        assert place is None or values[place] == token + 1


@pytest.mark.parametrize("name", [LLAVA_NEXT, "llava_onevision"])
@pytest.mark.parametrize(("width", "height"), [*SIZES, (30, 200), *MORE_SIZES[:5]])
def test_a_config_gives_the_layout_of_its_processor(name, width, height):
    ours, theirs = (
        make_layout(each, (height, width)) for each in (local(name).model.config, local(name).processor)
    )
    assert (ours.num_tokens, ours.grid) == (theirs.num_tokens, theirs.grid)
    for box in boxes(height, width, 4):
        assert ours.tokens(box, "all") == theirs.tokens(box, "all")
        assert ours.tokens(box, "released") == theirs.tokens(box, "released")
