"""The one list of compression methods: name, policy class, label, colour and order.

The configuration, the command line, result files, tables and figures know a method by its name in `METHODS`. Imports
the standard library alone: `policies/registry.py` loads a policy class when it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Look(NamedTuple):
    """How a method, or a kind of run, is named and drawn.

    Attributes:
        label: its name in tables and legends.
        color: of its line, as #RRGGBB.
        marker: of its points, as matplotlib names it; empty for none.
        line: style of its line, as matplotlib names it.
    """

    label: str
    color: str
    marker: str
    line: str = "-"


class Method(NamedTuple):
    """A compression method.

    Attributes:
        policy: its class as `file.Class` in `sparsemm/policies/`.
        look: how it is named and drawn.
        ablation: only part of an ablation; the main tables and figures leave it out.
    """

    policy: str
    look: Look
    ablation: bool = False


# In the order of every table and legend. The colours are Okabe and Ito's, safe for colour-blind readers; the markers
# distinguish the methods in grey.
METHODS: Mapping[str, Method] = {
    "fullkv": Method("fullkv.FullKV", Look("FullKV", "#000000", "", "--")),
    "sparsemm": Method("sparsemm.SparseMM", Look("SparseMM", "#D55E00", "o")),
    "snapkv": Method("snapkv.SnapKV", Look("SnapKV", "#0072B2", "s")),
    "pyramidkv": Method("pyramidkv.PyramidKV", Look("PyramidKV", "#009E73", "^")),
    "adakv": Method("adakv.AdaKV", Look("AdaKV", "#CC79A7", "D")),
    "random_heads": Method("random_heads.RandomHeads", Look("Random", "#7F7F7F", "v", ":")),
    "local_window": Method("local_window.LocalWindow", Look("local window", "#8C6D31", "X"), ablation=True),
}
# Kinds of runs with masked heads (figure 7).
MASKS: Mapping[str, Look] = {
    "visual": Look("visual heads", "#D55E00", "o"),
    "random": Look("random heads", "#7F7F7F", "v", ":"),
}
# Rules of scoring heads: how generated tokens are matched to words, which image tokens count as hits, the positions of
# families with M-RoPE, and what happens where no token matches.
MATCHINGS = ("stripped", "released", "exact")
CONVENTIONS = ("released", "all")
POSITIONS = ("mrope", "released")
NO_MATCH = ("error", "uniform")
# What greedy decoding follows of a checkpoint's generation_config: all that acts there, or nothing.
GENERATIONS = ("model", "plain")
# How a masked head is ablated: its output is 0, or its queries are, so that it averages the values that it sees.
MASKINGS = ("output", "released")
# Precision in which the tokens of a prompt are ranked.
RANKINGS = ("float32", "model")
# Kinds of further probe sets, and the generated scenes that a model can read: upper-case letters and digits in tiles
# of 64 px, or everything in tiles of 96 px.
PROBE_KINDS = ("scripts", "wild", "shapes")
DOCUMENTS = ("plain", "rich")
_LABEL = re.compile(r"(\w+)(?:\[([^\[\]]*)\])?")
# For labels that are not in METHODS, such as "sparsemm[rho=0.3]".
_SPARE_COLORS = ("#E69F00", "#56B4E9", "#5E3C99", "#A6761D")


def main_methods() -> list[str]:
    """Names of the methods that tables and figures compare, in the order of METHODS."""
    return [name for name, method in METHODS.items() if not method.ablation]


def split_label(label: str) -> tuple[str, dict[str, str]]:
    """The method's name and the settings of a label: "sparsemm[rho=0.3]" gives ("sparsemm", {"rho": "0.3"}).

    A label of another form is returned whole, without settings.
    """
    match = _LABEL.fullmatch(label.strip())
    if match is None:
        return label, {}
    parts = [part.partition("=") for part in (match.group(2) or "").split(",") if part]
    return match.group(1), {key.strip(): text.strip() for key, _, text in parts}


def look(name: str, index: int = 0) -> Look:
    """How a method is named and drawn.

    Args:
        name: of a method, or a label with settings such as "sparsemm[rho=0.3]".
        index: chooses the spare colour of a label that is not in METHODS.
    """
    return (
        METHODS[name].look if name in METHODS else Look(name, _SPARE_COLORS[index % len(_SPARE_COLORS)], "P")
    )


def label_of(name: str) -> str:
    """A method's name in tables and legends; a label that is not in METHODS is returned as it is."""
    return look(name).label


def method_order(names: Iterable[str]) -> list[str]:
    """The names without repeats: methods in the order of METHODS, then other labels by name."""
    found = set(names)
    return [name for name in METHODS if name in found] + sorted(found - set(METHODS))
