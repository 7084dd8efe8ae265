"""The one way to change a model and undo it: attributes that are set or wrapped while a context is open.

An attribute is an entry in the dictionary of a module instance, a config or a Python module. Several contexts may
change the same one, nested or in threads, and close in any order: the changes still open apply in the order in which
they were made, and when the last one closes the attribute is exactly as it was.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from transformers.modeling_utils import PreTrainedModel

from sparsemm.models.text import text_layers

# Held while a model is checked and changed, or changed back: two threads must not both find it unchanged.
# Re-entrant, as the garbage collector may close a forgotten context in a thread that holds it.
CHANGING = threading.RLock()

_ABSENT = object()
_ATTENTION = "_attn_implementation_internal"
_ROTARY = "apply_rotary_pos_emb"


class _Change:
    """One change of an attribute, kept while `users` contexts are open."""

    def __init__(self, wrap: Callable[[Any], Any], key: Hashable) -> None:
        self.wrap, self.key = wrap, key
        self.users = 0
        self._below: Any = _ABSENT
        self._value: Any = None

    def over(self, below: Any) -> Any:
        """The changed value; made again only when what it wraps has changed."""
        if self._below is not below:
            self._value = self.wrap(below)
            self._below = below
        return self._value


class _Attribute:
    """An attribute with open changes, and what it was before them."""

    def __init__(self, target: object, name: str) -> None:
        self.target, self.name = target, name  # the reference keeps the target's id from being used again
        self.own = vars(target).get(name, _ABSENT)
        self.original = getattr(target, name, None)
        self.changes: list[_Change] = []

    def apply(self) -> None:
        """Give the attribute the value that the open changes make of the original."""
        own = vars(self.target)
        while True:
            changes = tuple(self.changes)
            value = self.original if changes else self.own
            for change in changes:
                value = change.over(value)
            if value is _ABSENT:
                own.pop(self.name, None)
            else:
                own[self.name] = value
            if changes == tuple(self.changes):  # else the garbage collector closed a context meanwhile
                return


_CHANGED: dict[tuple[int, str], _Attribute] = {}  # by the target's id and the attribute's name


def patched(target: object, name: str, value: Any) -> AbstractContextManager[None]:
    """Set an attribute of the target itself while the context is open.

    Args:
        target: a module instance, a config or a Python module.
        name: the attribute; one that the target's class alone has is hidden, and visible again on exit.
        value: what it is set to.
    """
    return wrapped(target, name, lambda below: value)


@contextmanager
def wrapped(
    target: object, name: str, wrap: Callable[[Any], Any], *, shared: Hashable = None
) -> Iterator[None]:
    """Replace an attribute by a wrapper of it while the context is open.

    Args:
        target: a module instance, a config or a Python module.
        name: the attribute.
        wrap: gets the value to wrap, and returns the one to use. Called again when a change below it is undone.
        shared: contexts that give equal values here share one wrapper: the first one's, until the last one closes.
    """
    with CHANGING:
        where = id(target), name
        attribute = _CHANGED.get(where) or _Attribute(target, name)
        key = object() if shared is None else shared
        change = next((each for each in attribute.changes if each.key == key), _Change(wrap, key))
        change.users += 1
        if change not in attribute.changes:
            attribute.changes.append(change)
        _CHANGED[where] = attribute
        try:
            attribute.apply()
        except BaseException:
            _close(attribute, change)
            raise
    try:
        yield
    finally:
        _close(attribute, change)


def _close(attribute: _Attribute, change: _Change) -> None:
    """One user less of a change; undone with the last."""
    with CHANGING:
        change.users -= 1
        if change.users == 0:
            attribute.changes.remove(change)
            if not attribute.changes:
                _CHANGED.pop((id(attribute.target), attribute.name), None)
            attribute.apply()


def is_changed(target: object, name: str, *, but: type | None = None) -> bool:
    """Whether the target itself has the attribute, other than by open changes whose `shared` is of type `but`."""
    with CHANGING:
        attribute = _CHANGED.get((id(target), name))
        if attribute is None:
            return name in vars(target)
        others = [each for each in attribute.changes if but is None or not isinstance(each.key, but)]
        return attribute.own is not _ABSENT or bool(others)


def wrapped_rotary(
    model: PreTrainedModel, wrap: Callable[[Any], Any], *, shared: Hashable
) -> AbstractContextManager[None]:
    """`wrapped` for the function that applies RoPE in the text model; nothing where it has another name.

    The function belongs to the Python module of the attention's class: every model of that class runs the wrapper.
    """
    attention: Any = getattr(text_layers(model)[0], "self_attn", None)
    namespace = sys.modules[type(attention).__module__]
    if _ROTARY not in vars(namespace):
        return nullcontext()
    return wrapped(namespace, _ROTARY, wrap, shared=shared)


@contextmanager
def attention_implementation(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Set the text model's attention implementation; on exit every config of the model is exactly as it was.

    Args:
        model: a model or a vision-language model, whose other parts keep theirs.
        name: an implementation that transformers knows, or one registered with its `AttentionInterface`.
    """
    configs = {id(m.config): m.config for m in model.modules() if isinstance(m, PreTrainedModel)}
    for key in model.config.sub_configs:
        sub = getattr(model.config, key)
        configs[id(sub)] = sub
    with ExitStack() as undo:
        with CHANGING:
            before = {key: config._attn_implementation_internal for key, config in configs.items()}
            try:  # transformers checks the name, and says which configs it concerns
                nested = "text_config" in model.config.sub_configs
                model.set_attn_implementation({"text_config": name} if nested else name)
                chosen = {key: config._attn_implementation_internal for key, config in configs.items()}
            finally:
                for key, config in configs.items():
                    config._attn_implementation_internal = before[key]
            for key, config in configs.items():
                undo.enter_context(patched(config, _ATTENTION, chosen[key]))
        yield
