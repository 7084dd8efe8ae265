"""The compression methods: a line each with its label, its policy class and its look. Said here and nowhere else.

The configuration, the command line, result files, tables and figures know a method by its name here. Neither torch nor
the policies are imported: `policies/registry.py` loads a class when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Look(NamedTuple):
    """How a method, or a kind of run, is named and drawn."""

    label: str
    color: str
    marker: str
    line: str = "-"


class Method(NamedTuple):
    """A compression method. policy: its class as `file.Class` under `sparsemm/policies/`.

    ablation: made for an ablation, so that the main tables and figures leave it out.
    """

    policy: str
    look: Look
    ablation: bool = False


# In the order of every table and legend. Okabe and Ito's colours are told apart by every common colour vision;
# markers tell them apart in grey.
METHODS: Mapping[str, Method] = {
    "fullkv": Method("fullkv.FullKV", Look("FullKV", "#000000", "", "--")),
    "sparsemm": Method("sparsemm.SparseMM", Look("SparseMM", "#D55E00", "o")),
    "snapkv": Method("snapkv.SnapKV", Look("SnapKV", "#0072B2", "s")),
    "pyramidkv": Method("pyramidkv.PyramidKV", Look("PyramidKV", "#009E73", "^")),
    "adakv": Method("adakv.AdaKV", Look("AdaKV", "#CC79A7", "D")),
    "random_heads": Method("random_heads.RandomHeads", Look("Random", "#7F7F7F", "v", ":")),
    "local_window": Method("local_window.LocalWindow", Look("local window", "#8C6D31", "X"), ablation=True),
}
# Runs with heads masked (figure 7).
MASKS: Mapping[str, Look] = {
    "visual": Look("visual heads", "#D55E00", "o"),
    "random": Look("random heads", "#7F7F7F", "v", ":"),
}
# Rules of scoring heads: how generated tokens are matched to words, and which image tokens count as hits.
MATCHINGS = ("released", "exact")
CONVENTIONS = ("released", "all")
_SPARE = ("#E69F00", "#56B4E9", "#5E3C99", "#A6761D")


def main_methods() -> list[str]:
    """The methods that tables and figures compare, in their order."""
    return [name for name, method in METHODS.items() if not method.ablation]


def look(name: str, index: int = 0) -> Look:
    """How a method is drawn; a label that is no method's name takes a spare colour by `index`."""
    return METHODS[name].look if name in METHODS else Look(name, _SPARE[index % len(_SPARE)], "P")


def label_of(name: str) -> str:
    """What tables and legends call a method; a label that is no method's name stays as it is."""
    return look(name).label


def method_order(names: Iterable[str]) -> list[str]:
    """The names once each: methods in the order of METHODS, then others by name."""
    found = set(names)
    return [name for name in METHODS if name in found] + sorted(found - set(METHODS))
