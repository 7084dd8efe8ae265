"""What type stands on: colours, textures and noise. Textures and noise are made once and cropped at random."""

from __future__ import annotations

import colorsys
import functools
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]  # red, green, blue in 0 to 255
Pixels = NDArray[np.float32]

_WIDTH, _HEIGHT = 352, 256  # px of a cached texture: the largest page and 64 px to move it in
_NOISES = 6
TEXTURES = ("plain", "grain", "clouds", "stripes", "checks", "gradient", "weave", "rings")


@dataclass(frozen=True)
class Palette:
    """Colours of one page; ink and paper differ clearly in lightness.

    Attributes:
        paper: the ground's mean colour.
        ink: of type.
        accent: of bars, plates and rules: nearer to the ink than to the paper.
        soft: of thin lines.
        tint: of fills that type stands on: near the paper.
    """

    paper: Colour
    ink: Colour
    accent: Colour
    soft: Colour
    tint: Colour

    @classmethod
    def draw(cls, rng: random.Random) -> Palette:
        """A random palette; one in five is light on dark."""
        dark = rng.random() < 0.2
        paper_light, ink_light = rng.uniform(185, 250), rng.uniform(5, 65)
        if dark:
            paper_light, ink_light = rng.uniform(15, 70), rng.uniform(195, 250)
        paper = _coloured(rng, paper_light, rng.choice((0.03, 0.1, 0.3)))
        ink = _coloured(rng, ink_light, rng.choice((0.05, 0.3, 0.9)))
        accent = _coloured(rng, ink_light + 0.35 * (paper_light - ink_light), 0.8)
        return cls(paper, ink, accent, mix(paper, ink, 0.4), mix(paper, accent, 0.2))

    def turned(self) -> Palette:
        """The palette of a plate of ink colour: ink and paper changed places."""
        return Palette(self.ink, self.paper, mix(self.paper, self.accent, 0.4), self.soft, self.ink)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with a share of `second`."""
    red, green, blue = (a + share * (b - a) for a, b in zip(first, second))
    return red, green, blue


def lightness(colour: Colour) -> float:
    """Perceived lightness in 0 to 255 (Rec. 601)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _coloured(rng: random.Random, light: float, saturation: float) -> Colour:
    """A colour of random hue and the given lightness."""
    full = colorsys.hls_to_rgb(rng.random(), 0.5, saturation)
    red, green, blue = (255 * value for value in full)
    shift = light - lightness((red, green, blue))
    # Towards white or black as far as is needed, so that no channel leaves its range.
    target: Colour = (255.0, 255.0, 255.0) if shift > 0 else (0.0, 0.0, 0.0)
    base = lightness((red, green, blue))
    return mix((red, green, blue), target, shift / (lightness(target) - base))


def ground(rng: random.Random, size: tuple[int, int], palette: Palette) -> Pixels:
    """float32 [height, width, 3]: the paper's colour with a texture."""
    width, height = size
    name = rng.choice(TEXTURES)
    strength = rng.uniform(4, 16)
    texture = _texture(name, rng.randrange(4))
    x, y = rng.randrange(_WIDTH - width + 1), rng.randrange(_HEIGHT - height + 1)
    part = texture[y : y + height, x : x + width, None]
    tone = _coloured(rng, 128, rng.choice((0.0, 0.4)))
    made: Pixels = part * np.array([strength * value / 128 for value in tone], dtype=np.float32)
    made += np.asarray(palette.paper, dtype=np.float32)
    return made


def add_noise(rng: random.Random, pixels: Pixels) -> NDArray[np.uint8]:
    """The page, which is changed, as 8-bit RGB with Gaussian noise."""
    height, width, _ = pixels.shape
    noise = _noise(rng.randrange(_NOISES))
    x, y = rng.randrange(_WIDTH - width + 1), rng.randrange(_HEIGHT - height + 1)
    pixels += noise[y : y + height, x : x + width] * np.float32(rng.uniform(0, 8))
    return np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)


@functools.cache
def _noise(number: int) -> Pixels:
    return np.random.default_rng(1000 + number).standard_normal((_HEIGHT, _WIDTH, 3), dtype=np.float32)


@functools.cache
def _texture(name: str, number: int) -> Pixels:
    """float32 [_HEIGHT, _WIDTH], from about -1 to 1."""
    rng = np.random.default_rng([TEXTURES.index(name), number])
    y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH].astype(np.float32)
    turn = rng.uniform(0, np.pi)
    along = x * np.cos(turn) + y * np.sin(turn)
    across = y * np.cos(turn) - x * np.sin(turn)
    period = rng.uniform(9, 30)
    if name == "plain":
        made = np.zeros_like(x)
    elif name == "grain":
        made = _smooth(rng, 2)
    elif name == "clouds":
        made = _smooth(rng, int(rng.integers(16, 40)))
    elif name == "stripes":
        made = np.sin(2 * np.pi * along / period)
    elif name == "checks":
        made = np.sign(np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period)) * 0.7
    elif name == "gradient":
        made = 2 * (along - along.min()) / (along.max() - along.min()) - 1
    elif name == "weave":
        made = 0.5 * np.sin(2 * np.pi * x / 4) * np.sin(2 * np.pi * y / 4) + 0.7 * _smooth(rng, 3)
    else:  # rings, as of wood
        made = np.sin(2 * np.pi * (along / period + 1.5 * _smooth(rng, 24) + across / (6 * period)))
    return made.astype(np.float32)


def _smooth(rng: np.random.Generator, scale: int) -> Pixels:
    """Noise whose details are `scale` px large, from -1 to 1."""
    from PIL import Image

    coarse = rng.standard_normal((_HEIGHT // scale + 2, _WIDTH // scale + 2), dtype=np.float32)
    fine = Image.fromarray(coarse).resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC)
    made = np.asarray(fine, dtype=np.float32)
    return np.clip(made / (2 * made.std()), -1, 1)
