"""Shared set-up: no network, one thread, the tiny models as fixtures (`import tiny` works in every test)."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is first imported, by torch as well

import pytest


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tiny tensors are faster on one thread, and sums are then the same on every machine's core count."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(params=["mha", "gqa"])
def variant(request) -> str:
    """Every test that asks for it runs on Llama text (MHA) and on Mistral text (GQA)."""
    return request.param
