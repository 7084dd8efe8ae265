"""Random texts of one split: names, codes, dates, amounts. A text belongs to a split by its checksum."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

from sparsemm.documents.rich import vocabulary as v
from sparsemm.documents.words import SPLITS, split_of

CODE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # no I and O: in many faces they look like 1, l and 0
CODE_DIGITS = "123456789"


class Source:
    """Draws texts for one page; no text is drawn twice.

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

    def draw(self, make: Callable[[], str], about: str = "") -> str:
        """A new text of this split.

        Args:
            make: returns a random text.
            about: what the text is the value of; then the two together belong to the split, not the text alone (for
                short numbers, of which a split has few).

        Raises:
            ValueError: if none was found.
        """
        for _ in range(10_000):
            text = make()
            if text not in self.used and split_of(f"{about} {text}" if about else text) == self.split:
                self.used.add(text)
                return text
        raise ValueError(f"no new text of the split {self.split} was found: let `make` vary more")

    def some(self, words: Sequence[str], count: int) -> list[str]:
        """Different fixed words; they belong to no split."""
        return self.rng.sample(words, count)

    def number(self, low: int, high: int, about: str = "") -> int:
        """A whole number from `low` to `high`; up to a larger one where the split has none left."""
        tries = itertools.count()

        def make() -> str:
            wider = next(tries) // 100 * (high - low + 1)
            return str(self.rng.randint(low, high + wider))

        return int(self.draw(make, about))

    def name(self) -> str:
        """First and last name."""
        return self.draw(lambda: f"{self.rng.choice(v.FIRST)} {self.rng.choice(v.LAST)}")

    def code(self) -> str:
        """Letters and digits, or either, with or without a hyphen."""
        pattern = self.rng.choice(
            ("AA-999", "A-9999", "AAA-99", "99-AAA", "AA9999", "9999-99", "AAAAA", "A9A9A9")
        )
        sets = {"A": CODE_LETTERS, "9": CODE_DIGITS, "-": "-"}
        return self.draw(lambda: "".join(self.rng.choice(sets[sign]) for sign in pattern))

    def digits(self, count: int, about: str = "") -> str:
        """A whole number of `count` digits."""
        return str(self.number(10 ** (count - 1), 10**count - 1, about))

    def amount(self, low: int = 100, high: int = 9999, about: str = "") -> str:
        """Euros and cents with a point, from cents."""
        return self.draw(lambda: cents(self.rng.randint(low, high)), about)

    def date(self) -> str:
        """A date, in one of four ways of writing it."""
        way, rng = self.rng.randrange(4), self.rng

        def make() -> str:
            day, month, year = rng.randint(1, 28), rng.randrange(12), rng.randint(2015, 2029)
            if way == 0:
                return f"{day:02d}.{month + 1:02d}.{year}"
            if way == 1:
                return f"{year}-{month + 1:02d}-{day:02d}"
            if way == 2:
                return f"{day} {v.MONTHS[month]} {year}"
            return f"{day:02d}/{month + 1:02d}/{year % 100:02d}"

        return self.draw(make)

    def time(self) -> str:
        """Hours and minutes."""
        return self.draw(lambda: f"{self.rng.randint(6, 22)}:{self.rng.randint(0, 59):02d}")

    def phone(self) -> str:
        """A telephone number."""
        rng = self.rng
        return self.draw(lambda: f"{rng.randint(100, 999)} {rng.randint(1000, 9999)}")

    def street(self) -> str:
        """House number and street."""
        kind = self.rng.choice(("Street", "Road", "Lane"))
        return self.draw(lambda: f"{self.rng.randint(1, 99)} {self.rng.choice(v.STREETS)} {kind}")


def cents(amount: int) -> str:
    """12.50 from 1250."""
    return f"{amount // 100}.{amount % 100:02d}"
