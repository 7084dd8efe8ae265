"""Samples whose image cannot be decoded: rows of a batch that say so, taken out of the result and told in the log."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from sparsemm.results.resume import Rows

_LOG = logging.getLogger(__name__)
_KEY = "unreadable"


def left_out(ids: Iterable[str]) -> Rows:
    """A row for each sample that was left out, stored with its batch so that a resumed run knows of it."""
    return [{_KEY: name} for name in ids]


def take_unreadable(rows: Rows) -> tuple[Rows, list[str]]:
    """The rows of answers, and the ids of the samples that were left out, each of which is logged."""
    ids = sorted({str(row[_KEY]) for row in rows if _KEY in row})
    for name in ids:
        _LOG.warning("%s: its image cannot be decoded; the row is left out", name)
    return [row for row in rows if _KEY not in row], ids
