"""A prefill by hand: the text model's own, without what the images left behind."""

from __future__ import annotations

import gc
import weakref

import torch

from sparsemm import FullKV
from sparsemm.cache.attention import ragged_attention_in
from sparsemm.generation.prefill import capture_prefill, prefill

from helpers import tiny


def test_image_features_are_gone_when_the_text_model_works(variant, monkeypatch):
    model, inputs = tiny.model(variant), tiny.inputs([(60, 40)])
    core, seen, alive = model.model, [], []
    plain = core.get_placeholder_mask

    def watched(*args, **options):
        seen.append(weakref.ref(options["image_features"]))
        return plain(*args, **options)

    monkeypatch.setattr(core, "get_placeholder_mask", watched, raising=False)
    norm = model.get_decoder().norm
    hook = norm.register_forward_pre_hook(lambda *_: alive.append(sum(each() is not None for each in seen)))
    gc.disable()  # reference counting alone has to let go of them
    try:
        with ragged_attention_in(model):
            cache, token, _ = prefill(model, inputs, FullKV(), 2)
    finally:
        gc.enable()
        hook.remove()
    assert len(seen) == 1
    assert alive == [0]
    assert not model.get_decoder()._forward_pre_hooks
    expected = capture_prefill(model, inputs, lambda layer: None)
    assert torch.equal(token[:, 0], expected.logits.argmax(-1))
    assert cache.filled
