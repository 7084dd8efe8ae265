"""What every test runs with: no network, one thread, Triton's interpreter where there is no GPU; and shared fixtures.

Helpers are packages beside this file: `from helpers import tiny`, `from pretend.models import prompt`.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is first imported, by torch as well

import pytest


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny tensors are faster on one thread, and sums are then the same on every machine's core count."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(params=["mha", "gqa"])
def variant(request: pytest.FixtureRequest) -> str:
    """Every test that asks for it runs on Llama text (MHA) and on Mistral text (GQA)."""
    return str(request.param)


@pytest.fixture
def cuda() -> Iterator[Any]:
    """The pretend CUDA device and its counters; the test is skipped where there is a real one."""
    from helpers.interpreter import needs_triton

    needs_triton(without_gpu=True)
    from pretend.graph import pretend_cuda

    with pretend_cuda() as device:
        yield device


@pytest.fixture
def no_collector() -> Iterator[None]:
    """No garbage collection: memory must come back when the last reference to it goes."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the whole run of the workflow: where several processes share the tests, it would be waited for."""
    items.sort(key=lambda item: item.path.name != "test_run.py")
