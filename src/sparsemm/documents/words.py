"""Random words, each assigned to one split (train, eval, probe) by its checksum.

Training, evaluation and probe documents therefore share no word, whatever their seeds.
"""

from __future__ import annotations

import random
import zlib

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"
ALPHABET = LETTERS + DIGITS
SPLITS = ("train", "eval", "probe")


def split_of(word: str) -> str:
    """The split of a word by its checksum: 80 % train, 10 % eval, 10 % probe."""
    bucket = zlib.crc32(word.encode()) % 10
    return "eval" if bucket == 8 else "probe" if bucket == 9 else "train"


def _bigrams(word: str) -> list[str]:
    return [word[i : i + 2] for i in range(len(word) - 1)]


class WordSource:
    """Draws words of one split for one document, in which no pair of consecutive characters occurs twice.

    Every character of a page is then determined by the one before it, so a model can read a page by induction over its
    image tokens, the mechanism under study.

    Args:
        rng: source of randomness.
        split: "train", "eval" or "probe".

    Raises:
        ValueError: for an unknown split.
    """

    def __init__(self, rng: random.Random, split: str) -> None:
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is unknown: use one of {', '.join(SPLITS)}")
        self.rng = rng
        self.split = split
        self.used: set[str] = set()

    def draw(self, alphabet: str, length: int) -> str:
        """A new word of this split.

        Raises:
            ValueError: if no word with unused pairs of characters was found.
        """
        for _ in range(10_000):
            word = "".join(self.rng.choice(alphabet) for _ in range(length))
            pairs = _bigrams(word)
            if split_of(word) != self.split or word[0] == "0" or len(set(pairs)) < len(pairs):
                continue
            if self.used.isdisjoint(pairs):
                self.used.update(pairs)
                return word
        raise ValueError(f"no {length}-character word with unused bigrams is left: ask for fewer lines")
