"""Read a GGUF file: its metadata, and its tensors in float32. numpy alone, for the three tensor types that we meet.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_MAGIC, _VERSION = b"GGUF", 3
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_BLOCK = 32  # weights in a block of a quantised tensor
# Type number -> (weights in a block, its layout).
_TYPES = {
    0: (1, np.dtype([("value", "<f4")])),
    3: (_BLOCK, np.dtype([("scale", "<f2"), ("least", "<f2"), ("codes", "u1", _BLOCK // 2)])),
    8: (_BLOCK, np.dtype([("scale", "<f2"), ("codes", "i1", _BLOCK)])),
}
NAMES = {0: "F32", 3: "Q4_1", 8: "Q8_0"}


@dataclass(frozen=True)
class _Entry:
    """One tensor's shape (slowest axis first), type and offset in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


class GGUF:
    """A GGUF file, version 3, little endian.

    Args:
        path: of the file.

    Attributes:
        metadata: key to value.

    Raises:
        ValueError: for a file that is not GGUF, is cut short, or holds tensors of another type.
    """

    def __init__(self, path: str | Path) -> None:
        self._bytes = memoryview(Path(path).read_bytes())
        self._at = 0
        if bytes(self._bytes[:4]) != _MAGIC:
            raise ValueError("not a GGUF file")
        self._at = 4
        try:
            self._read_header()
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"the header cannot be read: {error}") from error

    def _read_header(self) -> None:
        version = self._scalar("I")
        if version != _VERSION:
            raise ValueError(f"GGUF version {version}, not {_VERSION}")
        tensors, keys = self._scalar("Q"), self._scalar("Q")
        self.metadata = {self._string(): self._value(self._scalar("I")) for _ in range(keys)}
        self._entries = [self._entry() for _ in range(tensors)]
        unit = int(self.metadata.get("general.alignment", 32))
        self._data = -(-self._at // unit) * unit

    def _scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self._bytes, self._at)
        self._at += struct.calcsize("<" + code)
        return value

    def _string(self) -> str:
        size = self._scalar("Q")
        start, self._at = self._at, self._at + size
        return str(self._bytes[start : self._at], "utf-8")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            inner, count = self._scalar("I"), self._scalar("Q")
            return [self._value(inner) for _ in range(count)]
        if kind not in _SCALARS:
            raise ValueError(f"metadata of the unknown type {kind}")
        return self._scalar(_SCALARS[kind])

    def _entry(self) -> _Entry:
        name, axes = self._string(), self._scalar("I")
        shape = tuple(self._scalar("Q") for _ in range(axes))[::-1]
        return _Entry(name, shape, self._scalar("I"), self._scalar("Q"))

    def tensors(self) -> Iterator[tuple[str, Array]]:
        """Name and float32 values of every tensor, slowest axis first."""
        for entry in self._entries:
            if entry.kind not in _TYPES:
                raise ValueError(f"{entry.name} is of type {entry.kind}; known: {', '.join(NAMES.values())}")
            weights, layout = _TYPES[entry.kind]
            count = int(np.prod(entry.shape)) // weights
            if self._data + entry.offset + count * layout.itemsize > len(self._bytes):
                raise ValueError(f"{entry.name} is cut short")
            blocks = np.frombuffer(self._bytes, layout, count, self._data + entry.offset)
            yield entry.name, _dequantised(entry.kind, blocks).reshape(entry.shape)


def _dequantised(kind: int, blocks: NDArray[np.void]) -> Array:
    """The weights of all blocks in float32."""
    if NAMES[kind] == "F32":
        return blocks["value"].astype(np.float32)
    scale = blocks["scale"].astype(np.float32)[:, None]
    codes: NDArray[Any] = blocks["codes"]
    if NAMES[kind] == "Q8_0":
        return scale * codes.astype(np.float32)
    # Q4_1: the low half of each byte first, then the high halves.
    halves = np.concatenate([codes & 15, codes >> 4], axis=1).astype(np.float32)
    return scale * halves + blocks["least"].astype(np.float32)[:, None]
