"""What is particular to the image layout of one family: grids, cropping, shrinking, refusals, with numbers."""

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
from transformers.models.llava_next.modeling_llava_next import unpad_image

from sparsemm.errors import InputError
from sparsemm.families import make_layout
from sparsemm.families.images import Preparation
from sparsemm.families.llava_next import LlavaNextLayout

from helpers.lit_pixels import LLAVA_NEXT_PINPOINTS, QWEN, SIZES, Local, assert_lit, boxes, local
from helpers.tiny import PATCH, config, processor
from helpers.tiny_families import CELL, PINPOINTS, TILE, tiny_family


class TestLlavaNext:
    @pytest.mark.parametrize(("width", "height"), [(32, 32), (64, 64), (16, 8)])
    def test_base_tokens_are_exact_where_the_squash_is_whole(self, width, height):
        made = local("llava_next-mistral")
        layout = make_layout(made.processor, (height, width))
        for x in range(0, width, 4):
            box = (x, 0, x + 4, min(4, height))
            lit = {token for token in made.changed(height, width, box) if token < layout.base_tokens}
            assert sorted(lit) == [t for t in layout.tokens(box, "all") if t < layout.base_tokens]

    @settings(max_examples=100, deadline=None)
    @given(st.integers(1, 2000), st.integers(1, 2000))
    def test_whole_image_covers_the_grid_and_crop_equals_unpad_image(self, height, width):
        layout = make_layout(local("llava_next-mistral").processor, (height, width))
        grid_rows, grid_cols = layout.grid
        whole = layout.tokens((0, 0, width, height), "released")
        cells = {layout.cell(token) for token in whole}
        assert len(whole) == len(cells) <= grid_rows * grid_cols
        best = max(LLAVA_NEXT_PINPOINTS, key=lambda p: _fit(p, height, width))
        stitched = torch.zeros(1, best[0] // PATCH, best[1] // PATCH)
        assert tuple(unpad_image(stitched, (height, width)).shape[1:]) == layout.grid

    def test_real_model_480_by_640_has_2340_tokens(self):
        real = config("mha")
        real.vision_config.image_size, real.vision_config.patch_size = 336, 14
        real.image_grid_pinpoints = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
        layout = LlavaNextLayout(real, (480, 640))
        assert (layout.base_tokens, layout.grid, layout.num_tokens) == (576, (36, 48), 2340)
        assert layout.tokens((0, 0, 1, 1), "all") == [0, 576]
        assert layout.tokens((639, 479, 640, 480), "released") == [576 + 35 * 49 + 47]

    def test_base_and_high_res_agree_where_the_tile_is_square(self):
        layout = LlavaNextLayout(processor(), (64, 64))
        assert layout.base_grid == (TILE // PATCH, TILE // PATCH)
        assert layout.grid == (8, 8)
        assert layout.pixels(0) == (0.0, 0.0, 16.0, 16.0)
        assert layout.pixels(layout.base_tokens) == (0.0, 0.0, 8.0, 8.0)
        assert layout.pixels(layout.base_tokens + 8) is None  # a newline


def _fit(pinpoint: list[int], height: int, width: int) -> tuple[int, int]:
    scale = min(pinpoint[1] / width, pinpoint[0] / height)
    return min(int(width * scale) * int(height * scale), width * height), -pinpoint[0] * pinpoint[1]


class TestOneVision:
    def test_a_large_grid_is_shrunk(self):
        layout = make_layout(local("llava_onevision").processor, (128, 128))
        assert layout.grid == (8, 8)  # 16 x 16 in tiles, of which only four tiles' worth may stay
        assert layout.num_tokens == 16 + 8 * 9
        assert layout.pixels(16) == (0.0, 0.0, 16.0, 16.0)

    def test_shrunk_tokens_share_pixels(self):
        """Between whole ratios neighbours are interpolated: a token's pixels overlap the next one's."""
        layout = make_layout(local("llava_onevision").processor, (128, 72))
        rows, cols = layout.grid
        assert (rows, cols) == (10, 6)  # of 16 x 9
        spans = [layout.pixels(16 + row * (cols + 1)) for row in range(rows)]
        assert any(above[3] > below[1] for above, below in pairwise(spans))

    @pytest.mark.parametrize(("width", "height"), SIZES)
    def test_what_is_left_of_a_tile_after_whole_patches_is_not_seen(self, width, height):
        """As in SigLIP's 384 px tiles of 27 x 27 patches of 14 px: each tile loses its last pixels, not the image."""
        made = _with_larger_tiles()
        layout = make_layout(made.processor, (height, width))
        assert layout.num_tokens == make_layout(made.model.config, (height, width)).num_tokens
        for box in boxes(height, width, 6):
            assert_lit(made, layout, height, width, box, CELL)


@cache
def _with_larger_tiles() -> Local:
    """LLaVA-OneVision with tiles of 3 px more than whole patches fill."""
    made = local("llava_onevision")
    model, processor = copy.deepcopy((made.model, made.processor))
    tile = TILE + 3
    points = [[rows * tile // TILE, cols * tile // TILE] for rows, cols in PINPOINTS]
    processor.image_processor.size = {"height": tile, "width": tile}
    processor.image_processor.image_grid_pinpoints = points
    for each in (model.config, model.model.config):
        each.image_grid_pinpoints, each.vision_config.image_size = points, tile
    return Local(made.name, model, processor)


class TestInternVL:
    def test_tiles_then_thumbnail(self):
        layout = make_layout(local("internvl").processor, (32, 64))
        assert (layout.grid, layout.num_tokens) == ((4, 8), 3 * 16)
        assert layout.cell(16) == (0, 4)
        assert layout.cell(32) is None
        assert layout.pixels(32) == (0.0, 0.0, 16.0, 8.0)

    def test_a_single_tile_has_no_thumbnail(self):
        layout = make_layout(local("internvl").processor, (32, 32))
        assert (layout.grid, layout.num_tokens) == ((4, 4), 16)
        assert layout.tokens((0, 0, 1, 1), "released") == layout.tokens((0, 0, 1, 1), "all") == [0]
        assert layout.cell(15) == (3, 3)


class TestQwen:
    @pytest.mark.parametrize("name", QWEN)
    def test_slivers_are_refused_in_one_line(self, name):
        with pytest.raises(InputError, match="aspect ratio") as caught:
            make_layout(local(name).processor, (1, 300))
        assert "\n" not in str(caught.value)

    def test_limits_are_the_processors(self):
        """As the paper's Qwen2-VL: 28 px cells, resized to whole ones within the pixel limits."""
        own = copy.deepcopy(tiny_family("qwen2_vl")[1])
        own.image_processor.patch_size = 14
        own.image_processor.size = {"shortest_edge": 4 * 28**2, "longest_edge": 16 * 28**2}
        assert make_layout(own, (280, 560)).grid == (2, 5)
        own.image_processor.size = {"shortest_edge": 4 * 28**2, "longest_edge": 16384 * 28**2}
        assert make_layout(own, (280, 560)).grid == (10, 20)
        assert make_layout(own, (28, 28)).num_tokens >= 4

    @pytest.mark.parametrize(
        ("width", "height"), [(60, 40), (40, 60), (129, 127), (200, 140), (90, 17), (64, 64)]
    )
    def test_boxes_are_mapped_through_both_resizes(self, width, height):
        """A first resize to multiples of 28 px, then the tiny processor's own to multiples of 8 within its limits.

        The first is bicubic: a bright box reaches two pixels of its result further, or of the image where it shrinks.
        """
        made, resize = _resized_first(), (3136, 12_845_056)
        layout = make_layout(made.processor, (height, width))
        new_h, new_w = Preparation(None, resize).size((height, width))
        assert (new_h % 28, new_w % 28) == (0, 0)
        assert layout.num_tokens == len(made.features(np.zeros((height, width, 3), np.uint8)))
        reach_x, reach_y = (
            math.ceil(3 * max(1, old / new)) for old, new in ((width, new_w), (height, new_h))
        )
        for x0, y0, x1, y1 in boxes(height, width, 12):
            lit = made.changed(height, width, (x0, y0, x1, y1))
            wide = (x0 - reach_x, y0 - reach_y, x1 + reach_x, y1 + reach_y)
            assert lit <= set(layout.tokens(_inside(wide, width, height)))
            for token in set(layout.tokens((x0, y0, x1, y1))) - lit:
                left, top, right, bottom = layout.pixels(token)
                assert min(right, x1) - max(left, x0) < reach_x or min(bottom, y1) - max(top, y0) < reach_y


def _resized_first() -> Local:
    """The tiny Qwen2-VL with the first resize of a rule set, its own limits and no JPEG, which blurs."""
    made = local("qwen2_vl")
    processor = copy.deepcopy(made.processor)
    processor.preparation = Preparation(None, (3136, 12_845_056))
    return Local(made.name, made.model, processor)


def _inside(box: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int, int]:
    return max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)


class TestRefusals:
    @pytest.mark.parametrize("name", [*QWEN, "internvl"])
    def test_a_config_without_sizes(self, name):
        with pytest.raises(InputError, match="give the processor"):
            make_layout(tiny_family(name)[0].config, (40, 60))

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
    def test_bad_boxes_get_one_line(self, box, said):
        with pytest.raises(InputError, match=said) as caught:
            make_layout(processor(), (40, 60)).tokens(box)
        assert "\n" not in str(caught.value)

    def test_bad_image_convention_token_and_source(self):
        with pytest.raises(InputError, match="zero area"):
            make_layout(processor(), (0, 60))
        layout = make_layout(processor(), (40, 60))
        with pytest.raises(InputError, match="released, all"):
            layout.tokens((0, 0, 1, 1), "base")
        with pytest.raises(InputError, match="image token"):
            layout.cell(layout.num_tokens)
        with pytest.raises(InputError, match="layout is not known"):
            make_layout(object(), (40, 60))

    def test_prompts_with_other_numbers_of_image_tokens(self):
        layout = make_layout(processor(), (40, 60))
        ids = [9] * 5 + [4] * layout.num_tokens + [8] * 3
        assert layout.positions(torch.tensor(ids), 4).tolist() == list(range(5, 5 + layout.num_tokens))
        with pytest.raises(InputError, match="image tokens where"):
            layout.positions(torch.tensor(ids[:-4]), 4)
