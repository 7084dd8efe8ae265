"""Threads that use compress at once, on one model and on two."""

from __future__ import annotations

import threading

import pytest
import torch

from sparsemm import SnapKV
from sparsemm.errors import InputError
from sparsemm.generation.compress import compress

from helpers import tiny
from helpers.generation import generate
from helpers.oracle import state, used

POLICY = SnapKV(budget=24, window=8)


def test_threads_on_one_model_exclude_each_other():
    """Of many threads that enter at once one gets in; the others are told, and the model is put back."""
    model, inputs = used("mha"), tiny.inputs()
    before, count = state(model), 6
    start, leave = threading.Barrier(count), threading.Event()
    refused, entered = [], []

    def enter():
        start.wait()
        try:
            with compress(model, POLICY) as run:
                model.generate(**inputs, max_new_tokens=2)
                leave.wait(60)
            entered.append(run.kept.float().mean().item())
        except InputError as error:
            refused.append(str(error))
        finally:
            if len(refused) == count - 1:
                leave.set()

    threads = [threading.Thread(target=enter) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert entered == [24.0]
    assert len(refused) == count - 1
    assert all("already" in text for text in refused)
    assert state(model) == before


def test_threads_on_two_models_work():
    models = [used("mha"), used("gqa")]
    inputs = tiny.inputs(tiny.UNEQUAL)
    before = [state(model) for model in models]
    alone = []
    for model in models:
        with compress(model, POLICY):
            alone.append(generate(model, inputs)[0])
    start, answers = threading.Barrier(2), {}

    def work(index):
        for turn in range(3):
            start.wait(60)
            with compress(models[index], POLICY) as run:
                answers[index, turn] = generate(models[index], inputs)[0], run.kept

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for (index, _), (tokens, kept) in answers.items():
        assert torch.equal(tokens, alone[index])
        assert (kept == 24).all()
    assert len(answers) == 6
    assert [state(model) for model in models] == before


def test_two_models_of_one_config():
    """They share the attention setting: while one is compressed the other cannot be, and both are put back."""
    config = tiny.config("gqa")
    first, second = (type(tiny.model("gqa"))(config).eval() for _ in range(2))
    before = state(first), state(second)
    with compress(first, POLICY), pytest.raises(InputError, match="already"), compress(second, POLICY):
        pass
    assert (state(first), state(second)) == before
    with compress(second, POLICY):
        pass
    assert (state(first), state(second)) == before
