"""Random words whose split (train, eval, probe) is a function of their spelling.

A word belongs to exactly one split, so training, evaluation and probe documents can never share
a word, whatever their seeds.
"""

from __future__ import annotations

import random
import zlib

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"
ALPHABET = LETTERS + DIGITS
SPLITS = ("train", "eval", "probe")


def split_of(word: str) -> str:
    """The split that owns ``word``: 80 % of words train, 10 % eval, 10 % probe, by checksum."""
    bucket = zlib.crc32(word.encode()) % 10
    return "eval" if bucket == 8 else "probe" if bucket == 9 else "train"


def _bigrams(word: str) -> list[str]:
    return [word[i : i + 2] for i in range(len(word) - 1)]


class WordSource:
    """Draws words of one split; no two characters follow each other twice within one document.

    Unique bigrams make every character of a page predictable from the one before it, so a page can
    be read by induction over its image tokens, the mechanism that the experiment is about.
    """

    def __init__(self, rng: random.Random, split: str) -> None:
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is unknown: use one of {', '.join(SPLITS)}")
        self.rng = rng
        self.split = split
        self.used: set[str] = set()

    def draw(self, alphabet: str, length: int) -> str:
        """A new word of ``length`` characters of ``alphabet`` that belongs to this split."""
        for _ in range(10_000):
            word = "".join(self.rng.choice(alphabet) for _ in range(length))
            pairs = _bigrams(word)
            if split_of(word) != self.split or word[0] == "0" or len(set(pairs)) < len(pairs):
                continue
            if self.used.isdisjoint(pairs):
                self.used.update(pairs)
                return word
        raise ValueError(f"no {length}-character word with unused bigrams is left: ask for fewer lines")
