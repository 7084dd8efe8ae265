"""Images stay encoded until they are opened; size and digest need one read and no pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from sparsemm.benchmarks import EncodedImage
from sparsemm.errors import InputError

from helpers import tiny


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=form)
    return stream.getvalue()


def test_size_and_digest_take_one_read_and_opening_another() -> None:
    data, reads = encoded(tiny.image(50, 30)), []

    def read() -> bytes:
        reads.append(1)
        return data

    image = EncodedImage("row 1", read)
    assert not reads
    assert (image.size, image.size, image.digest) == ((50, 30), (50, 30), image.digest)
    assert len(reads) == 1
    assert np.array_equal(np.asarray(image.open()), np.asarray(tiny.image(50, 30)))
    assert image.open() is not image.open()
    assert len(reads) == 4


def test_size_and_digest_decode_no_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    image = EncodedImage.of("row 1", tiny.image())

    def decoded(*_: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    assert image.size == (60, 40)
    assert len(image.digest) == 64
    with pytest.raises(AssertionError, match="decoded"):
        image.open()


def test_the_digest_is_that_of_the_encoded_content() -> None:
    first, same, other = (EncodedImage.of("row", tiny.image(seed=seed)) for seed in (0, 0, 1))
    assert first.digest == same.digest != other.digest


def test_every_format_is_opened_as_rgb() -> None:
    for mode in ("L", "P", "RGBA", "1"):
        assert EncodedImage.of("row", tiny.image().convert(mode)).open().mode == "RGB"
    data = encoded(tiny.image(), "JPEG")
    assert EncodedImage("row", lambda: data).open().size == (60, 40)


def test_broken_images_are_named_in_one_line() -> None:
    for data in (b"", b"no image"):
        image = EncodedImage("docvqa row 7", lambda data=data: data)
        for use in ("size", "digest", "open"):
            with pytest.raises(InputError, match=r"^docvqa row 7: .*get the data again$"):
                getattr(image, use)()
    cut = EncodedImage("docvqa row 7", lambda: encoded(tiny.image())[:2000])
    assert cut.size == (60, 40)
    with pytest.raises(InputError, match="truncated"):
        cut.open()
    data = bytearray(encoded(tiny.image()))
    data[data.index(b"IDAT") + 40] ^= 0xFF
    with pytest.raises(InputError, match="truncated"):
        EncodedImage("docvqa row 7", lambda: bytes(data)).open()
