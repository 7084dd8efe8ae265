"""Grounds of scenes: colours, and textures of noise, bricks, stripes and patches; the noise of a camera."""

from __future__ import annotations

import colorsys
import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Color = tuple[int, int, int]


def generator(rng: random.Random) -> np.random.Generator:
    """A numpy generator that `rng` alone decides."""
    return np.random.default_rng(rng.getrandbits(32))


def random_color(rng: random.Random, light: tuple[float, float], saturation: tuple[float, float]) -> Color:
    """A colour of any hue; lightness and saturation between the given ends (0 to 1)."""
    rgb = colorsys.hls_to_rgb(rng.random(), rng.uniform(*light), rng.uniform(*saturation))
    red, green, blue = (round(255 * part) for part in rgb)
    return red, green, blue


def brightness(color: Color | NDArray[np.float64]) -> float:
    """Luma, 0 to 255."""
    return float(0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2])


def ink_on(rng: random.Random, ground: Color, apart: float = 110) -> Color:
    """A colour that differs from `ground` by at least `apart` in brightness: dark on light, light on dark."""
    dark = brightness(ground) > 127
    for _ in range(50):
        ink = random_color(rng, (0.0, 0.3) if dark else (0.75, 1.0), (0.1, 0.9))
        if abs(brightness(ink) - brightness(ground)) >= apart:
            return ink
    return (10, 10, 10) if dark else (250, 250, 250)


def flat(rng: random.Random, size: tuple[int, int]) -> tuple[Image.Image, Color]:
    """A pale or dark ground of one colour, and that colour."""
    light = (0.78, 0.97) if rng.random() < 0.75 else (0.08, 0.25)
    color = random_color(rng, light, (0.1, 0.7))
    return Image.new("RGB", size, color), color


def textured(rng: random.Random, size: tuple[int, int], strength: float = 1.0) -> Image.Image:
    """A coloured ground: a gradient of two colours, noise at three scales, and bricks, stripes, patches or nothing.

    Args:
        rng: the only source of randomness.
        size: width, height in px.
        strength: of the noise and of what is drawn on it, 0 to 1.
    """
    width, height = size
    light = rng.choice(((0.15, 0.35), (0.35, 0.6), (0.6, 0.85)))
    first, second = (np.array(random_color(rng, light, (0.1, 0.6)), dtype=np.float64) for _ in range(2))
    across = np.linspace(0, 1, width)[None, :, None]
    down = np.linspace(0, 1, height)[:, None, None]
    share = rng.random()
    mixed = first + (second - first) * (share * across + (1 - share) * down)
    numbers = generator(rng)
    for cells, amplitude in ((3, 24.0), (9, 14.0), (40, 9.0)):
        mixed = mixed + strength * amplitude * _value_noise(numbers, cells, size)
    image = Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))
    draw = rng.choice((_bricks, _stripes, _patches, None))
    if draw is not None:
        layer = image.copy()
        draw(rng, layer)
        image = Image.blend(image, layer, 0.6 * strength)
    return image


def camera(rng: random.Random, image: Image.Image, most: float = 7.0) -> Image.Image:
    """The image with a little blur at times and noise of up to `most` grey levels."""
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(0.4))
    pixels = np.asarray(image, dtype=np.float64)
    noise = generator(rng).standard_normal(pixels.shape)
    return Image.fromarray(np.clip(pixels + rng.uniform(0, most) * noise, 0, 255).astype(np.uint8))


def mean_color(image: Image.Image, box: tuple[float, float, float, float]) -> Color:
    """The mean colour inside a box, px."""
    x0, y0, x1, y1 = (round(v) for v in box)
    part = image.crop((x0, y0, x1, y1))
    red, green, blue = np.asarray(part, dtype=np.float64).reshape(-1, 3).mean(axis=0)
    return round(red), round(green), round(blue)


def _value_noise(numbers: np.random.Generator, cells: int, size: tuple[int, int]) -> NDArray[np.float64]:
    """Smooth noise of standard deviation near 1, [H, W, 3], with `cells` knots along the longer side."""
    width, height = size
    knots = (max(2, cells * height // max(size)), max(2, cells * width // max(size)))
    layers = []
    for values in numbers.standard_normal((3, *knots)):
        knotted = Image.fromarray(values.astype(np.float32))
        layers.append(np.asarray(knotted.resize(size, Image.Resampling.BICUBIC), dtype=np.float64))
    grey = layers[0]
    return np.stack([0.8 * grey + 0.4 * layer for layer in layers], axis=-1)


def _bricks(rng: random.Random, image: Image.Image) -> None:
    brush, tall = ImageDraw.Draw(image), rng.randint(10, 22)
    joint = random_color(rng, (0.3, 0.7), (0.0, 0.2))
    for row, y in enumerate(range(0, image.height + tall, tall)):
        brush.line((0, y, image.width, y), fill=joint)
        for x in range(-(row % 2) * tall, image.width, 2 * tall):
            brush.line((x, y, x, y + tall), fill=joint)


def _stripes(rng: random.Random, image: Image.Image) -> None:
    brush, step, slant = ImageDraw.Draw(image), rng.randint(10, 30), rng.randint(-60, 60)
    color = random_color(rng, (0.2, 0.8), (0.1, 0.6))
    for x in range(-60, image.width + 60, 2 * step):
        brush.line((x, 0, x + slant, image.height), fill=color, width=step // 2)


def _patches(rng: random.Random, image: Image.Image) -> None:
    brush = ImageDraw.Draw(image)
    for _ in range(rng.randint(3, 8)):
        x, y = rng.randint(-20, image.width), rng.randint(-20, image.height)
        ends = (x, y, x + rng.randint(15, 80), y + rng.randint(15, 80))
        color = random_color(rng, (0.2, 0.8), (0.1, 0.7))
        (brush.ellipse if rng.random() < 0.5 else brush.rectangle)(ends, fill=color)
