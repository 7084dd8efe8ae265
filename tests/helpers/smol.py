"""A tiny base model in a GGUF file of the reference library's writing: two layers, byte-level BPE with a few merges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers.pre_tokenizers import ByteLevel

from sparsemm.embedded.smol.architecture import Tower
from sparsemm.embedded.smol.base import Base, load_base

TOWER = Tower(16, 1, 2, 32)
HIDDEN, MLP, LAYERS, HEADS, KV_HEADS = 64, 96, 2, 4, 2
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>", "<file_sep>"]
SPECIAL += ["<filename>", "<gh_stars>"]
MERGES = ["h e", "Ġ t", "Ġt he", "u s", "e r", "us er"]


def write_gguf(path: Path, seed: int = 0) -> Path:
    """Write the file; blocks of Q4_1 and Q8_0 as in SmolLM2's."""
    import gguf

    tokens = SPECIAL + sorted(ByteLevel.alphabet()) + [merge.replace(" ", "") for merge in MERGES]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    rng = np.random.default_rng(seed)
    kinds = gguf.GGMLQuantizationType

    def add(name: str, *shape: int, kind: gguf.GGMLQuantizationType = kinds.Q4_1) -> None:
        values = rng.normal(scale=0.3, size=shape).astype(np.float32)
        if kind is kinds.F32:
            writer.add_tensor(name, np.abs(values) + 0.5)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)

    add("token_embd.weight", len(tokens), HIDDEN, kind=kinds.Q8_0)
    add("output_norm.weight", HIDDEN, kind=kinds.F32)
    for layer in range(LAYERS):
        prefix = f"blk.{layer}."
        add(prefix + "attn_norm.weight", HIDDEN, kind=kinds.F32)
        add(prefix + "ffn_norm.weight", HIDDEN, kind=kinds.F32)
        add(prefix + "attn_q.weight", HIDDEN, HIDDEN)
        add(prefix + "attn_k.weight", HIDDEN * KV_HEADS // HEADS, HIDDEN)
        add(prefix + "attn_v.weight", HIDDEN * KV_HEADS // HEADS, HIDDEN)
        add(prefix + "attn_output.weight", HIDDEN, HIDDEN)
        add(prefix + "ffn_gate.weight", MLP, HIDDEN)
        add(prefix + "ffn_up.weight", MLP, HIDDEN)
        add(prefix + "ffn_down.weight", HIDDEN, MLP)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tiny_base(folder: Path) -> Base:
    """The tiny base model."""
    return load_base(write_gguf(folder / "tiny.gguf"))
