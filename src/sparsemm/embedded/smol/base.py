"""The language model that ours are made from: SmolLM2-135M-Instruct, read from a GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sparsemm.embedded.smol.gguf import GGUF, Array
from sparsemm.embedded.smol.package import CURE, find_file
from sparsemm.errors import InputError

# Special tokens of SmolLM2's vocabulary that no conversation uses; ours take their places.
_OURS = {
    "<repo_name>": "<image>",
    "<reponame>": "<|image_pad|>",
    "<file_sep>": "<|video_pad|>",
    "<filename>": "<|vision_start|>",
    "<gh_stars>": "<|vision_end|>",
}
_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTROL = 3  # tokenizer.ggml.token_type


@dataclass(frozen=True)
class Base:
    """A Llama text model.

    Attributes:
        weights: float32, by their names in transformers' `LlamaModel`; embeddings are tied.
        shape: arguments of `LlamaConfig`.
        tokenizer: with the tokens of images beside SmolLM2's own.
    """

    weights: dict[str, torch.Tensor]
    shape: dict[str, Any]
    tokenizer: PreTrainedTokenizerFast


def load_base(file: str | Path | None = None) -> Base:
    """Read a base model.

    Args:
        file: a GGUF file of a Llama text model with a GPT-2 tokenizer; None: the installed package's.

    Raises:
        InputError: if the file is not one, or the package is not as it should be.
    """
    path = find_file() if file is None else Path(file)
    try:
        gguf = GGUF(path)
        data = gguf.metadata
        shape = _shape(data)
        heads = {"q": shape["num_attention_heads"], "k": shape["num_key_value_heads"]}
        weights = dict(_weight(name, values, heads) for name, values in gguf.tensors())
        return Base(weights, shape, _tokenizer(data))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a GGUF file of a Llama model: {error}; {CURE}") from error


def _shape(data: dict[str, Any]) -> dict[str, Any]:
    hidden, heads = data["llama.embedding_length"], data["llama.attention.head_count"]
    return {
        "vocab_size": len(data["tokenizer.ggml.tokens"]),
        "hidden_size": hidden,
        "intermediate_size": data["llama.feed_forward_length"],
        "num_hidden_layers": data["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": data["llama.attention.head_count_kv"],
        "max_position_embeddings": data["llama.context_length"],
        # Seven digits, as it was written: the file has it in float32.
        "rms_norm_eps": float(f"{data['llama.attention.layer_norm_rms_epsilon']:.7g}"),
        "rope_parameters": {"rope_type": "default", "rope_theta": data["llama.rope.freq_base"]},
        "bos_token_id": data["tokenizer.ggml.bos_token_id"],
        "eos_token_id": data["tokenizer.ggml.eos_token_id"],
        "pad_token_id": data["tokenizer.ggml.padding_token_id"],
        "tie_word_embeddings": True,
    }


def _weight(name: str, values: Array, heads: dict[str, int]) -> tuple[str, torch.Tensor]:
    """A tensor under its name in transformers, rows of queries and keys in transformers' order."""
    if name in ("token_embd.weight", "output_norm.weight"):
        return {"t": "embed_tokens.weight", "o": "norm.weight"}[name[0]], torch.from_numpy(values)
    _, layer, part, _ = name.split(".")
    if part in ("attn_q", "attn_k"):
        # GGUF has the two halves that RoPE turns interleaved, transformers one after the other.
        rows, columns = values.shape
        halves = values.reshape(heads[part[-1]], rows // heads[part[-1]] // 2, 2, columns)
        values = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))
    return f"layers.{layer}.{_NAMES[part]}.weight", torch.from_numpy(values)


def _tokenizer(data: dict[str, Any]) -> PreTrainedTokenizerFast:
    """SmolLM2's byte-level BPE: digits apart, then GPT-2's pattern."""
    tokens = [_OURS.get(token, token) for token in data["tokenizer.ggml.tokens"]]
    merges = [tuple(merge.split(" ")) for merge in data["tokenizer.ggml.merges"]]
    backend = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    special = [t for t, kind in zip(tokens, data["tokenizer.ggml.token_type"]) if kind == _CONTROL]
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    make: Any = PreTrainedTokenizerFast  # its constructor is untyped
    tokenizer: PreTrainedTokenizerFast = make(
        tokenizer_object=backend,
        bos_token=tokens[data["tokenizer.ggml.bos_token_id"]],
        eos_token=tokens[data["tokenizer.ggml.eos_token_id"]],
        unk_token=tokens[data["tokenizer.ggml.unknown_token_id"]],
        pad_token="<|endoftext|>",
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    return tokenizer
