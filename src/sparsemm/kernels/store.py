"""Store: what a cache layer needs of the place where its ragged keys and values lie, and how one is made."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from sparsemm.errors import InputError

# Sample, KV head and token of every kept token, int64 [N] each, sequence after sequence, row-major.
Places = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Store(Protocol):
    """Keys and values of one layer, a run of tokens per (row, KV head); new tokens are written in place.

    `rows`, `heads`, `width`: R, Hkv, D. `reserve`: tokens that can be appended to what was filled in, `grown`:
    tokens appended since, pads counted.
    """

    rows: int
    heads: int
    width: int
    reserve: int
    grown: int

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens held now, pads left out, int64 [R, Hkv]."""
        ...

    @property
    def reserved_bytes(self) -> int:
        """Bytes allocated: tokens, scales, masks, padding, and the room for new tokens."""
        ...

    def bytes_of(self, kept: torch.Tensor) -> int:
        """Bytes that `kept` int [R, Hkv] filled-in tokens take in this store, padding and spare room left out."""
        ...

    def fill(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write the first tokens of all sequences [sum(lengths), D], sequence after sequence, row-major."""
        ...

    def take(self, key: torch.Tensor, value: torch.Tensor, at: Places) -> None:
        """`fill` with what stands at `at` in full keys and values [B, Hkv, T, D]."""
        ...

    def append(self, key: torch.Tensor, value: torch.Tensor, valid: torch.Tensor | None) -> None:
        """Write new tokens [R, Hkv, q, D] in place; pads (valid bool [R, q] False) are never attended to.

        Raises InputError, before anything is written, when the rows do not fit the store or have no room.
        """
        ...

    def attend(self, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """Attention of the tokens just appended to all that is held: query [R, Hq, q, D] -> [R, q, Hq, D]."""
        ...

    @classmethod
    def combine(cls, parts: Sequence[tuple[Any, torch.Tensor | None]], reserve: int) -> Store:
        """A new store with the given rows (int64 indexes, None for all) of stores of this class, copied once."""
        ...


Maker = Callable[[torch.Tensor, int, torch.Tensor], Store]


def _flat(lengths: torch.Tensor, reserve: int, like: torch.Tensor) -> Store:
    from sparsemm.kernels.storage import FlatStore

    return FlatStore(lengths, reserve, like)


def _triton(lengths: torch.Tensor, reserve: int, like: torch.Tensor) -> Store:
    if not has_triton():
        raise InputError("storage='triton': the triton package is not installed; pip install triton")
    from sparsemm.kernels.triton_store import TritonStore

    return TritonStore(lengths, reserve, like)


def has_triton() -> bool:
    """Whether triton is installed; it is not imported to find out."""
    return importlib.util.find_spec("triton") is not None


def runs_triton(tensor: torch.Tensor) -> bool:
    """Whether our Triton kernels run where the tensor is: on GPUs from sm_80 on."""
    return tensor.is_cuda and has_triton() and torch.cuda.get_device_capability(tensor.device) >= (8, 0)


def _automatic(like: torch.Tensor) -> str:
    """The kind that "auto" stands for: the Triton kernel on the GPUs, numbers and head sizes that it takes."""
    return "triton" if like.shape[-1] <= 256 and like.element_size() <= 4 and runs_triton(like) else "torch"


def _quantised(bits: int) -> Maker:
    def make(lengths: torch.Tensor, reserve: int, like: torch.Tensor) -> Store:
        from sparsemm.kernels.quantised_store import QuantisedStore

        return QuantisedStore(lengths, reserve, like, bits)

    return make


# A kind's modules are imported when it is first asked for: some need a package or a device of their own.
MAKERS: dict[str, Maker] = {"torch": _flat, "int8": _quantised(8), "int4": _quantised(4), "triton": _triton}


def check_kind(kind: str) -> None:
    """Raise InputError when there is no such kind of store."""
    if kind != "auto" and kind not in MAKERS:
        raise InputError(
            f"storage={kind!r}: there is no such storage; use one of {', '.join(['auto', *MAKERS])}"
        )


def make_store(lengths: torch.Tensor, reserve: int, like: torch.Tensor, *, kind: str = "auto") -> Store:
    """An empty store for `lengths` int64 [R, Hkv] tokens and `reserve` more each.

    `like` gives head size (its last dimension), dtype and device; `kind` is a key of MAKERS, or "auto" for an
    exact one: Triton's on a GPU that can run it, else torch's. Raises InputError for an unknown kind.
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
