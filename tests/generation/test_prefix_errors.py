"""compress_prefix refuses what it cannot follow, in one line that names the cure."""

from __future__ import annotations

import pytest
import torch

from sparsemm import SnapKV, compress_prefix
from sparsemm.errors import InputError
from sparsemm.generation.prefix_inputs import left_padded
from sparsemm.models.loading import build_inputs

from helpers import tiny

POLICY = SnapKV(16, window=8)


def inputs(question="Read.", images=1):
    return build_inputs(tiny.processor(), [[tiny.image(seed=n) for n in range(images)]], [question])


@pytest.mark.parametrize(
    ("given", "options", "fault"),
    [
        (inputs(), {"rank_by": "question"}, "rank_by='question' is not known; use window or instruction"),
        (inputs(), {"rank_by": "instruction"}, "needs the tokenizer; give processor="),
        (
            inputs(),
            {"rank_by": "instruction", "processor": tiny.processor(), "instruction": ""},
            None,
        ),
        (inputs(images=0), {}, "row 0 has no image"),
        ({}, {}, "inputs have no input_ids"),
    ],
)
def test_prefixes(given, options, fault):
    if fault is None:  # the newline before it is a token
        with compress_prefix(tiny.model("gqa"), POLICY, given, **options):
            return
    with pytest.raises(InputError, match=fault), compress_prefix(tiny.model("gqa"), POLICY, given, **options):
        pass


def test_prompts():
    given = inputs()
    with compress_prefix(tiny.model("gqa"), POLICY, given) as prefix:
        length = prefix.input_ids.shape[1]
        for bad, fault in [
            ({}, "needs input_ids"),
            ({"input_ids": given["input_ids"][:, 1:]}, "prompt 0 does not begin with the prefix"),
            ({"input_ids": given["input_ids"][:, :length]}, "ends with the prefix; put the question after"),
            (
                {"input_ids": torch.cat([given["input_ids"], given["input_ids"]], 1)},
                "has images after the prefix",
            ),
            ({**given, "past_key_values": prefix.cache()}, "leave them out"),
        ]:
            with pytest.raises(InputError, match=fault):
                prefix.generate(**bad, max_new_tokens=1)
        with pytest.raises(InputError, match="cannot follow beam_search"):
            prefix.generate(**given, max_new_tokens=1, num_beams=2)
        two = {name: torch.cat([given[name]] * 2) for name in ("input_ids", "attention_mask")}
    both = build_inputs(tiny.processor(), [tiny.image()] * 3, ["A", "B", "C"])
    fault = pytest.raises(InputError, match="2 prompts for a prefix of 3 rows")
    with compress_prefix(tiny.model("gqa"), POLICY, both) as prefix, fault:
        prefix.generate(**two, max_new_tokens=1)


def test_left_padding():
    rows, mask = left_padded([torch.tensor([1, 2, 3]), torch.tensor([4])], [9, 5])
    assert rows.tolist() == [[1, 2, 3], [5, 5, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
