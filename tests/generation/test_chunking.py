"""Norms and MLPs in chunks of tokens: the same numbers, smaller tensors, nothing left behind."""

from __future__ import annotations

import copy
import sys

import pytest
import torch

from sparsemm.errors import InputError
from sparsemm.generation.chunking import chunked
from sparsemm.models.text import text_layers

from helpers import tiny


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


def rotary(model) -> tuple[dict, str]:
    return vars(sys.modules[type(text_layers(model)[0].self_attn).__module__]), "apply_rotary_pos_emb"


def test_positions_and_projections_go_in_chunks_too(variant: str) -> None:
    """Queries and keys are turned where they lie, and the output is projected into its own memory."""
    model, inputs = tiny.model(variant), tiny.inputs()
    names, name = rotary(model)
    plain, turned, projected = names[name], [], []

    def watch(q, k, cos, sin, *rest):
        turned.append((q.shape[2], q.data_ptr()))
        return plain(q, k, cos, sin, *rest)

    hook = text_layers(model)[0].self_attn.o_proj.register_forward_hook(
        lambda module, given, out: projected.append(given[0].data_ptr() == out.data_ptr())
    )
    names[name] = watch
    try:
        with torch.no_grad():
            expected = model(**inputs).logits
            with chunked(model, 16):
                ours = model(**inputs).logits
    finally:
        names[name] = plain
        hook.remove()
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)
    lengths = [length for length, _ in turned[tiny.LAYERS :]]
    assert max(lengths) == 16
    assert sum(lengths) == tiny.LAYERS * inputs["input_ids"].shape[1]
    assert projected == [False, True]


def test_the_last_of_several_users_puts_the_rotary_function_back() -> None:
    model = tiny.model()
    names, name = rotary(model)
    plain = names[name]
    first, second = chunked(model, 16), chunked(copy.deepcopy(model), 32)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # as another thread may
    assert names[name] is not plain
    second.__exit__(None, None, None)
    assert names[name] is plain


def test_gradients_are_those_of_the_whole(variant: str) -> None:
    model, inputs = tiny.model(variant), tiny.inputs()
    with chunked(model, 16):
        model(**inputs).logits.sum().backward()
    assert model.lm_head.weight.grad is not None
    model.zero_grad()
