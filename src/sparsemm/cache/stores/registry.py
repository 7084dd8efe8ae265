"""The kinds of stores by name, and functions to make and combine stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from sparsemm.cache.stores.base import Store
from sparsemm.errors import InputError
from sparsemm.kernels.device import has_triton, runs_triton

Maker = Callable[[torch.Tensor, int, torch.Tensor], Store]


def _flat(lengths: torch.Tensor, reserve: int, like: torch.Tensor) -> Store:
    from sparsemm.cache.stores.flat_store import FlatStore

    return FlatStore(lengths, reserve, like)


def _triton(lengths: torch.Tensor, reserve: int, like: torch.Tensor) -> Store:
    if not has_triton():
        raise InputError("storage='triton': the triton package is not installed; pip install triton")
    from sparsemm.cache.stores.triton_store import TritonStore

    return TritonStore(lengths, reserve, like)


def _automatic(like: torch.Tensor) -> str:
    """The kind that "auto" stands for: triton where its kernel supports the GPU, dtype and head size, else torch."""
    return "triton" if like.shape[-1] <= 256 and like.element_size() <= 4 and runs_triton(like) else "torch"


def _quantised(bits: int) -> Maker:
    def make(lengths: torch.Tensor, reserve: int, like: torch.Tensor) -> Store:
        from sparsemm.cache.stores.quantised_store import QuantisedStore

        return QuantisedStore(lengths, reserve, like, bits)

    return make


# A kind's module is imported when a store of it is made: some need an optional package or a device.
MAKERS: dict[str, Maker] = {"torch": _flat, "int8": _quantised(8), "int4": _quantised(4), "triton": _triton}


def check_kind(kind: str) -> None:
    """Raise InputError for an unknown kind of store."""
    if kind != "auto" and kind not in MAKERS:
        raise InputError(
            f"storage={kind!r}: there is no such storage; use one of {', '.join(['auto', *MAKERS])}"
        )


def make_store(lengths: torch.Tensor, reserve: int, like: torch.Tensor, *, kind: str = "auto") -> Store:
    """An empty store.

    Args:
        lengths: int64 [R, Hkv] tokens to fill in.
        reserve: tokens that can be appended to each sequence.
        like: a tensor of the head size (last dimension), dtype and device.
        kind: a key of MAKERS, or "auto" for an exact one: triton on a GPU that can run it, else torch.

    Raises:
        InputError: for an unknown kind.
    """
    check_kind(kind)
    return MAKERS[_automatic(like) if kind == "auto" else kind](lengths, reserve, like)


def combine_stores(parts: Sequence[tuple[Store, torch.Tensor | None]], reserve: int) -> Store:
    """`Store.combine` of stores of one class; InputError when they are of several."""
    kinds = {type(store) for store, _ in parts}
    if len(kinds) != 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise InputError(f"cannot combine caches of different storage ({names}); use one storage for all")
    return kinds.pop().combine(parts, reserve)
