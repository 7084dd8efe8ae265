"""How many image tokens a prompt has under a rule set: processor, prompt and layout agree; table 1 is within reach."""

from __future__ import annotations

from functools import cache

import pytest
from PIL import Image

from sparsemm.families import make_layout
from sparsemm.models import build_inputs, load_processor

from helpers import rule_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("kinds")
    return cache(lambda kind: rule_models.save_processor(root / kind, kind))


def ruled(folder, kind, rules):
    return load_processor(folder(kind), prompt="rules", rules=rules)


TWENTY = [
    *[(56, 56), (28, 300), (60, 40), (100, 100), (158, 158), (160, 157), (224, 224), (333, 47), (13, 500)],
    *[(480, 640), (640, 480), (768, 1024), (1024, 683), (850, 600), (999, 1001), (1275, 1650), (2200, 1700)],
    *[(30, 5000), (1440, 2560), (3700, 3500)],
]


@pytest.mark.parametrize("size", TWENTY, ids=str)
def test_qwens_tokens_are_counted_alike_by_processor_prompt_and_layout(folder, size):
    """(height, width) within the paper's limits; only two of the twenty would count otherwise in a single resize."""
    height, width = size
    processor = ruled(folder, "qwen2_vl", "paper")
    ids = build_inputs(processor, [Image.new("RGB", (width, height), "white")], ["Read."])["input_ids"][0]
    count = int((ids == processor.image_token_id).sum())
    given = processor.preparation.size(size)
    (stock,) = processor._get_num_multimodal_tokens(image_sizes=[given]).num_image_tokens
    layout = make_layout(processor, size)
    assert count == stock == layout.num_tokens == len(layout.positions(ids, processor.image_token_id))
    assert 32 <= count <= 16384


# Sizes (height, width) made up after what the data sets are known to hold: DocVQA scans of letter pages at 200 dpi,
# TextVQA and TextCaps photographs of 1,024 px on the long side, ChartQA charts of about 850 x 600 px. Not measured.
MADE_UP = {
    "docvqa": [(2200, 1700)] * 8 + [(2292, 1728)] * 2 + [(1700, 2200), (1650, 1275)],
    "textvqa": [(768, 1024)] * 11 + [(1024, 768)] * 3 + [(683, 1024)] * 4 + [(1024, 683), (1024, 1024)],
    "chartqa": [(600, 850)] * 6 + [(557, 850), (650, 850)],
}
TABLE_1 = {
    ("docvqa", "vicuna"): 2433,
    ("textvqa", "vicuna"): 2376,
    ("chartqa", "vicuna"): 2270,
    ("docvqa", "qwen2_vl"): 4830,
    ("textvqa", "qwen2_vl"): 1024,
    ("chartqa", "qwen2_vl"): 642,
}


@pytest.mark.parametrize(("name", "kind"), TABLE_1)
def test_mean_image_tokens_are_near_table_1(folder, name, kind):
    """Within 4 percent: the sizes are made up, and the table counts some tens of text tokens too."""
    processor = ruled(folder, kind, "paper")
    counts = [make_layout(processor, size).num_tokens for size in MADE_UP[name]]
    assert sum(counts) / len(counts) == pytest.approx(TABLE_1[name, kind], rel=0.04)


def test_table_1_is_out_of_reach_within_the_current_limits(folder):
    processor = ruled(folder, "qwen2_vl", "current")
    assert max(make_layout(processor, size).num_tokens for size in MADE_UP["docvqa"]) <= 768
