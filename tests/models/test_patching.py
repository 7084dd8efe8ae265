"""Changes of a model's attributes: nested, shared, in threads, closed in any order, and undone exactly."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from sparsemm.models.patching import attention_implementation, is_changed, patched, wrapped, wrapped_rotary
from sparsemm.models.text import text_layers

from helpers import tiny


def adds(name):
    """A wrapper whose calls leave its name."""
    return lambda below: lambda: [*below(), name]


class Target(torch.nn.Module):
    def work(self):
        return ["class"]


def made(kind):
    """A target whose `work` stands in its class, in the instance or in a Python module."""
    if kind == "module":
        target = ModuleType("target")
        target.work = lambda: ["module"]
        return target
    target = Target()
    if kind == "instance":
        target.work = lambda: ["instance"]
    return target


KINDS = ("class", "instance", "module")


@pytest.mark.parametrize("kind", KINDS)
def test_changes_apply_in_order_and_are_undone(kind):
    target = made(kind)
    before = dict(vars(target))
    with wrapped(target, "work", adds("a")):
        assert target.work() == [kind, "a"]
        with patched(target, "work", lambda: ["set"]):
            assert target.work() == ["set"]
            with wrapped(target, "work", adds("b")):
                assert target.work() == ["set", "b"]
        assert target.work() == [kind, "a"]
    assert vars(target) == before
    assert target.work() == [kind]


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_undoes_too(kind):
    target = made(kind)
    before = dict(vars(target))
    with pytest.raises(RuntimeError, match="inside"), wrapped(target, "work", adds("a")):
        raise RuntimeError("inside")
    assert vars(target) == before

    def fails(below):
        raise RuntimeError("no wrapper")

    with wrapped(target, "work", adds("a")):
        with pytest.raises(RuntimeError, match="no wrapper"), wrapped(target, "work", fails):
            pass
        assert target.work() == [kind, "a"]
    assert vars(target) == before


def test_an_attribute_that_nobody_had_is_gone_again():
    target = Target()
    with patched(target, "recorder", 1):
        assert target.recorder == 1
    assert not hasattr(target, "recorder")


@settings(deadline=None, max_examples=60)
@given(kind=st.sampled_from(KINDS), steps=st.lists(st.integers(0, 4), max_size=25))
def test_contexts_close_in_any_order(kind, steps):
    """A step opens context n, or closes it when it is open; the open ones apply in the order they were opened."""
    target = made(kind)
    before = dict(vars(target))
    contexts, order = {}, []
    for number in steps:
        if number in contexts:
            contexts.pop(number).__exit__(None, None, None)
            order.remove(number)
        else:
            contexts[number] = wrapped(target, "work", adds(number))
            contexts[number].__enter__()
            order.append(number)
        assert target.work() == [kind, *order]
    for context in contexts.values():
        context.__exit__(None, None, None)
    assert vars(target) == before


@settings(deadline=None, max_examples=60)
@given(steps=st.lists(st.tuples(st.integers(0, 5), st.sampled_from("ab")), max_size=25))
def test_sharers_count_as_one(steps):
    """Contexts that share a wrapper leave it in place until the last of them closes."""
    target = made("class")
    contexts, users, order = {}, {"a": 0, "b": 0}, []
    for number, name in steps:
        if number in contexts:
            name, context = contexts.pop(number)
            context.__exit__(None, None, None)
            users[name] -= 1
            if not users[name]:
                order.remove(name)
        else:
            contexts[number] = name, wrapped(target, "work", adds(name), shared=name)
            contexts[number][1].__enter__()
            users[name] += 1
            if users[name] == 1:
                order.append(name)
        assert target.work() == ["class", *order]
    for _, context in contexts.values():
        context.__exit__(None, None, None)
    assert "work" not in vars(target)


def test_threads_share_and_stack():
    target, before = made("module"), None
    before = dict(vars(target))
    count = 8
    start, wrong = threading.Barrier(count), []

    def use(number):
        start.wait(60)
        for _ in range(200):
            with wrapped(target, "work", adds("shared"), shared="key"), wrapped(target, "work", adds(number)):
                found = target.work()
                if found[0] != "module" or found.count("shared") != 1 or found.count(number) != 1:
                    wrong.append(found)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=use, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
    assert vars(target) == before


def test_the_first_thread_may_leave_first():
    """It waits inside until the second is in, and the second looks after the first has left."""
    target, entered, left = made("module"), threading.Event(), threading.Event()
    plain, found = target.work, []

    def second():
        with wrapped(target, "work", adds("second")):
            entered.set()
            left.wait(60)
            found.append(target.work())

    thread = threading.Thread(target=second)
    with wrapped(target, "work", adds("first")):
        thread.start()
        assert entered.wait(60)
        assert target.work() == ["module", "first", "second"]
    left.set()
    thread.join(60)
    assert found == [["module", "second"]]
    assert target.work is plain


def test_what_counts_as_a_change():
    for kind, own in (("class", False), ("instance", True)):
        target = made(kind)
        assert is_changed(target, "work") == own
        with wrapped(target, "work", adds("a"), shared=1):
            assert is_changed(target, "work")
            assert is_changed(target, "work", but=str)
            assert is_changed(target, "work", but=int) == own
            with wrapped(target, "work", adds("b")):
                assert is_changed(target, "work", but=int)


def test_the_rotary_function_of_the_text_model(variant):
    model = tiny.model(variant)
    names = vars(sys.modules[type(text_layers(model)[0].self_attn).__module__])
    plain, calls = names["apply_rotary_pos_emb"], []

    def counted(below):
        return lambda *args: (calls.append(1), below(*args))[1]

    with torch.no_grad(), wrapped_rotary(model, counted, shared="test"):
        model(**tiny.inputs())
    assert len(calls) == tiny.LAYERS
    assert names["apply_rotary_pos_emb"] is plain


def configs(model):
    found = {id(each.config): each.config for each in model.modules() if isinstance(each, PreTrainedModel)}
    return [dict(vars(config)) for config in found.values()]


@contextmanager
def opened(*contexts):
    for context in contexts:
        context.__enter__()
    yield
    for context in contexts:  # in the order in which they came, not the other way round
        context.__exit__(None, None, None)


def test_attention_implementations_close_in_any_order():
    model = tiny.model()
    before = configs(model)
    text = model.config.get_text_config()
    first, second = (attention_implementation(model, name) for name in ("eager", "sdpa"))
    with opened(first, second):
        assert text._attn_implementation == "sdpa"
        first.__exit__(None, None, None)
        assert text._attn_implementation == "sdpa"
        first = attention_implementation(model, "eager")
        first.__enter__()
        second.__exit__(None, None, None)
        assert text._attn_implementation == "eager"
        second = attention_implementation(model, "sdpa")
        second.__enter__()
    assert configs(model) == before


def test_an_unknown_attention_implementation_changes_nothing():
    model = tiny.model()
    before = configs(model)
    with pytest.raises(ValueError, match="nowhere"), attention_implementation(model, "nowhere"):
        pass
    assert configs(model) == before
