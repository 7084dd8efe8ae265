"""Tiny models, prompts and policies for tests on the pretend CUDA device."""

from __future__ import annotations

import copy
import functools

import numpy as np
import torch

from sparsemm import AdaKV, FullKV, PyramidKV, SnapKV, SparseMM

from helpers import tiny
from helpers.tiny_families import tiny_family
from pretend.cuda import to_cuda

FAMILIES = ("llava_next-llama", "llava_next-mistral", "qwen2_vl")


def to_pretend(model: torch.nn.Module) -> torch.nn.Module:
    """The model with its parameters and buffers on the pretend device, in place; shared ones stay shared."""
    moved: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for name, tensor in module._parameters.items():
            if tensor is not None:
                new = moved.setdefault(id(tensor), torch.nn.Parameter(to_cuda(tensor), tensor.requires_grad))
                module._parameters[name] = new
        for name, tensor in module._buffers.items():
            if tensor is not None:
                module._buffers[name] = moved.setdefault(id(tensor), to_cuda(tensor))
    return model


@functools.cache
def here(family: str):
    """The tiny model with two layers at most: the interpreter is slow."""
    model = copy.deepcopy(tiny_family(family)[0])
    text = model.get_decoder()
    text.layers = text.layers[:2]
    model.config.get_text_config().num_hidden_layers = 2
    return model


@functools.cache
def moved(family: str):
    return to_pretend(copy.deepcopy(here(family)))


@functools.cache
def prompt(family: str, sizes: tuple[tuple[int, int], ...] = ((60, 40),)):
    _, processor = tiny_family(family)
    marker = "<|vision_start|><|image_pad|><|vision_end|>" if family.startswith("qwen") else "<image>\n"
    texts = [f"<s>USER: {marker}Read line {index}. ASSISTANT:" for index in range(len(sizes))]
    images = [[tiny.image(*size, seed=index)] for index, size in enumerate(sizes)]
    return dict(processor(images=images, text=texts, return_tensors="pt", padding=True))


def there(inputs):
    return {name: tensor.to("cuda") for name, tensor in inputs.items()}


def policy(method: str, model):
    text = model.config.get_text_config()
    if method == "sparsemm":
        shape = (text.num_hidden_layers, text.num_key_value_heads)
        return SparseMM(
            np.random.default_rng(0).dirichlet(np.full(shape[0] * shape[1], 0.3)).reshape(shape), 24, window=8
        )
    made = {"fullkv": FullKV(), "snapkv": SnapKV(16, window=8), "adakv": AdaKV(16, window=8)}
    return (made | {"pyramidkv": PyramidKV(16, window=8)})[method]
