"""Fused decode steps against the plain operations."""

from __future__ import annotations

import sys

import pytest
import torch

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.generation.compress import compress
from sparsemm.generation.fusing import Fusion, fused, fused_layers, fusions
from sparsemm.generation.greedy import GreedyLoop
from sparsemm.generation.prefill import prefill
from sparsemm.models.head_masks import mask_rows
from sparsemm.models.loading import shape
from sparsemm.models.patching import patched
from sparsemm.models.text import text_layers
from sparsemm.policies import SnapKV

from helpers import tiny
from helpers.interpreter import needs_triton
from helpers.tiny_families import FAMILY_NAMES, tiny_family

needs_triton()

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float16],  # the interpreter cuts bfloat16 off, it does not round
)
@pytest.mark.parametrize("width", [48, 128])
def test_kernels_are_the_plain_operations(width: int, dtype: torch.dtype) -> None:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

    from sparsemm.kernels.triton_fused import gated_silu, rms_norm, rotate

    exact = {"atol": 1e-6, "rtol": 1e-6} if dtype == torch.float32 else {"atol": 0.0, "rtol": 2**-10}
    torch.manual_seed(0)
    hidden, up = torch.randn(2, 2, 3, width).to(DEVICE, dtype)
    norm = LlamaRMSNorm(width).to(DEVICE, dtype)
    norm.weight.data.normal_()
    with torch.no_grad():
        torch.testing.assert_close(
            rms_norm(hidden, norm.weight, norm.variance_epsilon), norm(hidden), **exact
        )
    torch.testing.assert_close(gated_silu(hidden, up), torch.nn.functional.silu(hidden) * up, **exact)
    query = torch.randn(2, 1, 4, width).to(DEVICE, dtype).transpose(1, 2)
    key = torch.randn(2, 1, 2, width).to(DEVICE, dtype).transpose(1, 2)
    angles = torch.rand(2, 1, width // 2).repeat(1, 1, 2)
    cos, sin = angles.cos().to(DEVICE, dtype), angles.sin().to(DEVICE, dtype)
    for rows in (2, 1):
        ours = rotate(query, key, cos[:rows], sin[:rows])
        for mine, plain in zip(ours, apply_rotary_pos_emb(query, key, cos[:rows], sin[:rows])):
            torch.testing.assert_close(
                mine, plain, **({**exact, "atol": exact["atol"] + (dtype != torch.float32) * 0.002})
            )


@pytest.mark.parametrize("fusion", [fused, fused_layers])
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_step_is_the_same_and_nothing_is_left(name: str, fusion: Fusion) -> None:
    model, processor = tiny_family(name)
    if fusion not in fusions(model, 1):
        assert name == "qwen3_vl"  # it norms queries and keys: its layers are left as they are
        return
    talk = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Read this."}]}]
    text = processor.apply_chat_template(talk, add_generation_prompt=True)
    inputs = dict(processor(images=[tiny.image()], text=[text], return_tensors="pt"))
    names = vars(sys.modules[type(text_layers(model)[0].self_attn).__module__])
    rotary = names["apply_rotary_pos_emb"]
    with ragged_attention_in(model), torch.no_grad():
        cache, first, place = prefill(model, inputs, SnapKV(16, window=8), 8, storage="triton")
        loop = GreedyLoop(model, cache, first, place, graph=False)
        expected = loop.run(3)
        loop.rewind()
        with fusion(model):
            assert names["apply_rotary_pos_emb"] is not rotary
            ours = loop.run(3)
    assert torch.equal(ours, expected)
    assert names["apply_rotary_pos_emb"] is rotary
    assert not any("forward" in vars(module) for module in model.modules())


def test_whole_layers_are_fused_for_one_row_of_what_is_known_alone() -> None:
    model = tiny.model()
    model(**tiny.inputs(), output_attentions=True)  # leaves transformers' hooks, asleep
    assert any(part._forward_hooks for part in model.modules())
    assert fusions(model, 1) == [fused_layers, fused]
    assert fusions(model, 2) == [fused]
    sizes = shape(model)
    attention, mlp = text_layers(model)[-1].self_attn, text_layers(model)[-1].mlp
    with mask_rows(model, torch.ones(1, sizes.num_layers, sizes.num_heads, dtype=torch.bool)):
        assert fusions(model, 1) == [fused]
    for part, name in ((attention, "o_proj"), (mlp, "up_proj"), (attention, "k_proj")):
        plain = getattr(part, name)
        try:
            setattr(part, name, torch.nn.Linear(plain.in_features, plain.out_features, bias=True))
            assert fusions(model, 1) == [fused]
            setattr(part, name, torch.nn.Sequential(plain))
            assert fusions(model, 1) == [fused]
        finally:
            setattr(part, name, plain)
    assert fusions(model, 1) == [fused_layers, fused]


def test_layers_are_fused_inside_compress_too() -> None:
    """Its chunking lets single tokens through unchanged; a forward of somebody else's does not."""
    model = tiny.model()
    with compress(model, SnapKV(16, window=8)):
        assert fusions(model, 1) == [fused_layers, fused]
        with patched(text_layers(model)[0].mlp, "forward", torch.nn.Identity()):
            assert fusions(model, 1) == [fused]
