"""Images that stay encoded until they are asked for."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from sparsemm.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

_BROKEN = (OSError, SyntaxError, ValueError)  # what Pillow raises for bytes that it cannot decode


class LazyImage(Protocol):
    """An image of a row: what is known of it without its pixels, and a way to get them."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px."""

    @property
    def digest(self) -> str:
        """Hex digest of the encoded content."""

    def open(self) -> Image.Image:
        """The decoded image, RGB. Nothing keeps a reference to it: it is freed when the caller lets it go."""


@dataclass(frozen=True)
class EncodedImage:
    """A LazyImage in a file format that Pillow reads.

    Args:
        name: what an error message calls the image.
        read: returns the encoded bytes. Called once for size and digest together, and at every `open`; a benchmark
            with large images reads them from its file here and keeps none.
    """

    name: str
    read: Callable[[], bytes]

    @classmethod
    def of(cls, name: str, image: Image.Image) -> EncodedImage:
        """The image as PNG bytes (lossless) held in memory."""
        stream = io.BytesIO()
        image.save(stream, format="PNG", compress_level=1)
        return cls(name, stream.getvalue)

    @cached_property
    def _known(self) -> tuple[tuple[int, int], str]:
        from PIL import Image

        data = self.read()
        try:
            with Image.open(
                io.BytesIO(data)
            ) as header:  # Pillow reads the header here, the pixels in `open` below
                size = header.size
        except _BROKEN as error:
            raise self._broken() from error
        return size, hashlib.sha256(data).hexdigest()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px, from the file's header.

        Raises:
            InputError: for bytes that are no image.
        """
        return self._known[0]

    @property
    def digest(self) -> str:
        """Sha256 of the encoded bytes.

        Raises:
            InputError: for bytes that are no image.
        """
        return self._known[1]

    def open(self) -> Image.Image:
        """The decoded image, RGB.

        Raises:
            InputError: for bytes that are no whole image.
        """
        from PIL import Image

        try:
            with Image.open(io.BytesIO(self.read())) as image:
                return image.convert("RGB")
        except _BROKEN as error:
            raise self._broken() from error

    def _broken(self) -> InputError:
        return InputError(f"{self.name}: its image is truncated or in an unknown format; get the data again")
