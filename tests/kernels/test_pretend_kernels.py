"""The kernels in bfloat16 on the pretend CUDA device, whose interpreter rounds and multiplies it as a GPU does."""

from __future__ import annotations

import pytest
import torch

from sparsemm.cache.stores.triton_store import TritonStore


@pytest.mark.parametrize("width", [48, 128])
def test_fused_kernels_round_where_the_plain_operations_do(width, cuda):
    from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

    from sparsemm.kernels.triton_fused import gated_silu, rms_norm, rotate

    def draw(*shape):
        return torch.randn(*shape).to("cuda", torch.bfloat16)

    torch.manual_seed(0)
    hidden, up = draw(2, 3, width), draw(2, 3, width)
    with torch.no_grad(), torch.device("cuda"):
        norm = LlamaRMSNorm(width).to(torch.bfloat16)
        norm.weight.normal_()
        ours, plain = rms_norm(hidden, norm.weight, norm.variance_epsilon), norm(hidden)
    one = {"atol": 0.0, "rtol": 2**-7}  # a near tie of the exact sums may fall the other way: one place
    torch.testing.assert_close(ours.cpu(), plain.cpu(), **one)
    assert (ours != plain).float().mean().item() < 0.02
    ours, plain = gated_silu(hidden, up), torch.nn.functional.silu(hidden) * up
    torch.testing.assert_close(ours.cpu(), plain.cpu(), **one)
    assert (ours != plain).float().mean().item() < 0.02
    query, key = draw(2, 1, 4, width).transpose(1, 2), draw(2, 1, 2, width).transpose(1, 2)
    angles = torch.rand(2, 1, width // 2, device="cuda").repeat(1, 1, 2)
    cos, sin = angles.cos().bfloat16(), angles.sin().bfloat16()
    for mine, theirs in zip(rotate(query, key, cos, sin), apply_rotary_pos_emb(query, key, cos, sin)):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(("group", "width"), [(1, 128), (4, 64), (7, 128)])
def test_decode_is_attention_in_float32(group, width, cuda):
    """Every sequence by itself, as near to float64 as one rounding of the weights and one of the result allow."""
    lengths = torch.tensor([[0, 1, 150], [64, 65, 3]])
    torch.manual_seed(group)
    keys, values = torch.randn(2, int(lengths.sum()), width).to("cuda", torch.bfloat16)
    store = TritonStore(lengths.to("cuda"), 3, keys)
    store.fill(keys, values)
    held = list(
        zip(keys.cpu().split(lengths.flatten().tolist()), values.cpu().split(lengths.flatten().tolist()))
    )
    for _ in range(3):
        new = torch.randn(2, 2, 3, 1, width).to("cuda", torch.bfloat16)
        query = torch.randn(2, 3 * group, 1, width).to("cuda", torch.bfloat16)
        store.append(new[0], new[1], None)
        out = store.attend(query, 0.2).cpu()
        for index, fresh in enumerate(zip(*(part.cpu().flatten(0, 1) for part in new))):
            held[index] = tuple(torch.cat(pair) for pair in zip(held[index], fresh))
            row, head = divmod(index, 3)
            q = query[row, head * group : (head + 1) * group, 0].cpu().double()
            k, v = (part.double() for part in held[index])
            expected = (q @ k.T * 0.2).softmax(-1) @ v
            mine = out[row, 0, head * group : (head + 1) * group].double()
            torch.testing.assert_close(mine, expected, atol=2**-8 * float(v.abs().max()), rtol=2**-8)
    assert store.lengths.cpu().equal(lengths + 3)


def test_a_capture_compiles_nothing(cuda):
    from sparsemm.kernels.triton_fused import gated_silu

    x, graph = torch.ones(64, device="cuda"), torch.cuda.CUDAGraph()
    gated_silu(x, x)
    with torch.cuda.graph(graph):
        gated_silu(x, x)
    odd = torch.ones(65, device="cuda")[1:]  # another alignment: another kernel
    with pytest.raises(RuntimeError, match="compiled"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        gated_silu(odd, x)
