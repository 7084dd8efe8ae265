"""Images that stay encoded until they are asked for."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from sparsemm.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

# What Pillow raises for bytes that it cannot decode, beside DecompressionBombError.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


class LazyImage(Protocol):
    """An image of a row: what is known of it without its pixels, and a way to get them."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px; 0 and 0 where it is known beforehand that `open` will fail."""

    @property
    def digest(self) -> str:
        """Hex digest of the encoded content."""

    def open(self) -> Image.Image:
        """The decoded image, RGB. Nothing keeps a reference to it: it is freed when the caller lets it go."""


class UnreadableImage(InputError):
    """An image that cannot be decoded: its row is left out of a run, which goes on."""


@dataclass(frozen=True)
class EncodedImage:
    """A LazyImage in a file format that Pillow reads.

    Args:
        name: what an error message calls the image.
        read: returns the encoded bytes. Called once for size and digest together, and at every `open`; a benchmark
            with large images reads them from its file here and keeps none.
        known: size and digest, where an index has them: then they take no read.
    """

    name: str
    read: Callable[[], bytes]
    known: tuple[tuple[int, int], str] | None = None

    @classmethod
    def of(cls, name: str, image: Image.Image) -> EncodedImage:
        """The image as PNG bytes (lossless) held in memory."""
        stream = io.BytesIO()
        image.save(stream, format="PNG", compress_level=1)
        return cls(name, stream.getvalue)

    @cached_property
    def _known(self) -> tuple[tuple[int, int], str]:
        if self.known is not None:
            return self.known
        data = self.read()
        size = image_size(data)
        if size == (0, 0):
            raise self._broken()
        return size, hashlib.sha256(data).hexdigest()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px, from the file's header.

        Raises:
            UnreadableImage: for bytes that are no image.
        """
        return self._known[0]

    @property
    def digest(self) -> str:
        """Sha256 of the encoded bytes.

        Raises:
            UnreadableImage: for bytes that are no image.
        """
        return self._known[1]

    def open(self) -> Image.Image:
        """The decoded image, RGB, turned as its EXIF orientation says, which is what `datasets` gives.

        Raises:
            UnreadableImage: for bytes that are no whole image, or one without area.
        """
        from PIL import Image, ImageOps

        data = self.read()
        try:
            with Image.open(io.BytesIO(data)) as image:
                if min(image.size) < 1:
                    raise self._broken()
                image.load()
                return ImageOps.exif_transpose(image).convert("RGB")
        except (*_BROKEN, Image.DecompressionBombError) as error:
            raise self._broken() from error

    def _broken(self) -> UnreadableImage:
        return UnreadableImage(
            f"{self.name}: its image is truncated or in an unknown format; get the data again"
        )


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height in px of an encoded image as `open` gives it, from its header; 0 and 0 if it has none."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as header:
            width, height = header.size
            # Not header.getexif(): for PNG that decodes the pixels.
            turned = Image.Image.getexif(header).get(0x0112) in _TURNED
    except (*_BROKEN, Image.DecompressionBombError):
        return 0, 0
    if min(width, height) < 1:
        return 0, 0
    return (height, width) if turned else (width, height)
