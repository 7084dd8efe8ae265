"""Triton kernels in tests: where they cannot run the tests are skipped; without a GPU they run in the interpreter."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import Any

import pytest
import torch


def installed_triton() -> Any:
    """The package; where it is missing, the running test or test file is skipped."""
    return pytest.importorskip("triton", reason="triton is not installed: pip install 'sparsemm[dev]'")


def needs_triton(*, without_gpu: bool = False) -> None:
    """Skip the running test, or the test file at whose top this stands, where Triton kernels cannot run.

    Args:
        without_gpu: Skip where there is a GPU as well: kernels then do not run in the interpreter.
    """
    triton = installed_triton()
    if torch.cuda.is_available():
        if without_gpu:
            pytest.skip("only for Triton's interpreter: there is a GPU here", allow_module_level=True)
    elif triton.knobs.runtime.interpret:
        quicken()
    else:
        pytest.skip("triton was imported before TRITON_INTERPRET=1 was set", allow_module_level=True)


@functools.cache
def quicken() -> None:
    """Spare the interpreter work that it repeats for every operation; what it computes and refuses is the same.

    A third of its time goes into this. It concerns the running process only, and only its speed.
    """
    import triton.language
    from triton.language import core
    from triton.language.semantic import TritonSemantic
    from triton.runtime import interpreter

    if not hasattr(interpreter, "_LangPatchScope"):
        return  # another version of triton, whose interpreter is left as it is

    # The interpreter repeats integer operations in 64 bits to find overflows, but reports none without debug=True.
    builder: Any = interpreter.interpreter_builder
    if not builder.options.debug:
        builder.options = dataclasses.replace(builder.options, sanitize_overflow=False)

    # For a launch it replaces functions of triton.language, and again at every call of a nested function.
    patch_language = interpreter._patch_lang
    patched: set[str] = set()  # modules, in the running launch

    @functools.cache
    def languages_of(function: Any) -> frozenset[str]:
        modules = [value for value in function.__globals__.values() if inspect.ismodule(value)]
        return frozenset(module.__name__ for module in modules if module in (triton.language, core))

    def patch_language_once(function: Any) -> Any:
        languages = languages_of(function)
        if patched and languages <= patched:
            return interpreter._LangPatchScope()
        outermost = not patched
        patched.update(languages)
        scope = patch_language(function)
        if outermost:
            restore = scope.restore
            scope.restore = lambda: (patched.clear(), restore())
        return scope

    interpreter._patch_lang = patch_language_once

    # It looks through whole modules for these functions.
    @functools.cache
    def builtins_of(package: Any) -> list[tuple[str, Any]]:
        return [pair for pair in inspect.getmembers(package) if core.is_builtin(pair[1])]

    def patch_builtin(package: Any, builder: Any, scope: Any) -> None:
        found = builtins_of(package)
        if found and getattr(package, found[0][0]) is found[0][1]:  # else an outer call has replaced them
            for name, member in found:
                interpreter._patch_attr(package, name, member, builder, scope)

    interpreter._patch_builtin = patch_builtin

    # It builds a table of all types to look up one.
    numpy_type, numpy_types = interpreter._get_np_dtype, {}

    def known_numpy_type(kind: Any) -> Any:
        kind = kind.element_ty if isinstance(kind, core.block_type) else kind
        if kind.name not in numpy_types:
            numpy_types[kind.name] = numpy_type(kind)
        return numpy_types[kind.name]

    interpreter._get_np_dtype = known_numpy_type

    # It broadcasts blocks that have the same shape.
    broadcast = TritonSemantic.broadcast_impl_value

    def broadcast_unequal(self: Any, left: Any, right: Any) -> Any:
        blocks = left.type.is_block() and right.type.is_block()
        same = blocks and left.type.shape.values == right.type.shape.values
        return (left, right) if same else broadcast(self, left, right)

    TritonSemantic.broadcast_impl_value = broadcast_unequal

    # It checks a block's shape, and wraps its sizes one by one, for every tensor.
    init_block, init_tensor = core.block_type.__init__, core.tensor.__init__
    block_shapes: dict[tuple[int, ...], tuple[Any, Any, str]] = {}
    tensor_shapes: dict[tuple[int, ...], tuple[Any, Any]] = {}

    def init_known_block(self: Any, element: Any, shape: Any) -> None:
        sizes = tuple(core._unwrap_if_constexpr(size) for size in shape)
        if sizes not in block_shapes:
            init_block(self, element, shape)
            block_shapes[sizes] = self.shape, self.numel, self.name.rsplit(", ", 1)[0]
        self.element_ty = element
        self.shape, self.numel, start = block_shapes[sizes]
        self.name = f"{start}, {element}>"

    def init_known_tensor(self: Any, handle: Any, kind: Any) -> None:
        sizes = tuple(kind.shape.values) if kind.is_block() else ()
        if sizes not in tensor_shapes:
            init_tensor(self, handle, kind)
            tensor_shapes[sizes] = self.shape, self.numel
        self.handle, self.type, self.dtype = handle, kind, kind.scalar
        self.shape, self.numel = tensor_shapes[sizes]

    core.block_type.__init__ = init_known_block
    core.tensor.__init__ = init_known_tensor
