"""Norms and MLPs in chunks of tokens: the same numbers, smaller tensors, nothing left behind."""

from __future__ import annotations

import pytest
import torch

from sparsemm.attention import text_layers
from sparsemm.chunking import chunked
from sparsemm.errors import InputError

import tiny


def test_chunks_change_nothing(variant: str) -> None:
    model, inputs = tiny.model(variant), tiny.inputs(tiny.UNEQUAL)
    seen: list[int] = []
    hook = text_layers(model)[1].mlp.gate_proj.register_forward_hook(
        lambda module, given, out: seen.append(given[0].shape[1])
    )
    with torch.no_grad():
        expected = model(**inputs).logits
        whole = seen.pop()
        with chunked(model, 16):
            ours = model(**inputs).logits
    hook.remove()
    assert sum(seen) == whole > 16
    assert max(seen) == 16
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)
    assert not any("forward" in vars(module) for module in model.modules())


def test_it_is_undone_after_an_error_and_refuses_nonsense() -> None:
    model = tiny.model()
    with pytest.raises(RuntimeError), chunked(model, 16):
        raise RuntimeError
    assert not any("forward" in vars(module) for module in model.modules())
    with pytest.raises(InputError, match="tokens is 0"):  # noqa: SIM117
        with chunked(model, 0):
            pass
