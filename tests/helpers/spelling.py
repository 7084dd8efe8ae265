"""What shares of characters in patches spell: the inverse of `smol.patches.shares`, as far as there is one."""

from __future__ import annotations

import itertools

import numpy as np

from sparsemm.embedded.smol.patches import SYMBOLS, Shares


def once(text: str) -> str:
    """A text whose doubled characters stand once: in shares, two that touch cannot be told from one."""
    return "".join(char for char, _ in itertools.groupby(text))


def spelt(shares: Shares) -> list[str]:
    """The rows [rows, columns, HALVES, CLASSES] as text, up to doubled characters (`once`)."""
    rows = []
    for row in shares.reshape(len(shares), -1, shares.shape[-1]):
        text, before = "", np.zeros(shares.shape[-1])
        for half in row:
            for number in np.flatnonzero(half[1:-1] > 0) + 1:
                if before[number] == 0:
                    text += SYMBOLS[number - 1]
            # What is wholly here may stand again in the next half.
            before = np.where(half > 0.99, 0, half)
        rows.append(text)
    return rows
