"""What else `generate` does inside compress, for every family: several images, several sequences, another turn."""

from __future__ import annotations

import pytest
import torch

from sparsemm import FullKV, SnapKV
from sparsemm.generation.compress import compress
from sparsemm.models.loading import build_inputs

from helpers import tiny
from helpers.oracle import dense_oracle, recorded
from helpers.tiny_families import FAMILY_NAMES, tiny_family

POLICIES = [FullKV(), SnapKV(budget=24, window=8)]


def inputs(processor):
    """A padded batch of two images, one, and none."""
    images = [[tiny.image(60, 40), tiny.image(20, 64, seed=1)], [tiny.image(64, 64, seed=2)], []]
    return build_inputs(processor, images, ["Compare the two.", "Read.", "Say something, please."])


def assert_close(ours, theirs):
    assert torch.equal(ours.sequences, theirs.sequences)
    torch.testing.assert_close(torch.stack(ours.logits), torch.stack(theirs.logits), atol=1e-5, rtol=0)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_several_images_and_sampled_sequences(family, policy):
    model, processor = tiny_family(family)
    options = {"do_sample": True, "temperature": 1.5, "num_return_sequences": 2, "max_new_tokens": 8}
    options |= {"return_dict_in_generate": True, "output_logits": True}

    def sample():
        torch.manual_seed(5)
        return model.generate(**inputs(processor), **options)

    with recorded() as kept, compress(model, policy) as run:
        ours = sample()
    assert torch.equal(run.kept, torch.stack(kept).sum(-1))
    with dense_oracle(model, kept):
        assert_close(ours, sample())
    if policy.budget is None:
        assert_close(ours, sample())
    assert not torch.equal(ours.sequences[::2], ours.sequences[1::2])


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_another_turn(family, policy):
    model, processor = tiny_family(family)
    given = inputs(processor)
    rows, options = len(given["input_ids"]), {"do_sample": False, "return_dict_in_generate": True}

    def two_turns():
        first = model.generate(**given, **options, max_new_tokens=5)
        more = torch.tensor([[30, 41, 52, 63]]).expand(rows, -1)
        again = {"input_ids": torch.cat([first.sequences, more], 1)}
        new = again["input_ids"].shape[1] - given["input_ids"].shape[1]
        again["attention_mask"] = torch.cat([given["attention_mask"], torch.ones(rows, new).long()], 1)
        if "mm_token_type_ids" in given:  # positions of the whole conversation depend on the images in it
            again["mm_token_type_ids"] = torch.cat(
                [given["mm_token_type_ids"], torch.zeros(rows, new).long()], 1
            )
            again["image_grid_thw"] = given["image_grid_thw"]
        return model.generate(
            **again, **options, past_key_values=first.past_key_values, max_new_tokens=6, output_logits=True
        )

    with recorded() as kept, compress(model, policy):
        ours = two_turns()
    with dense_oracle(model, kept):
        assert_close(ours, two_turns())
    if policy.budget is None:
        assert_close(ours, two_turns())
