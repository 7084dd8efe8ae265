"""The lists of compression methods and of rankers: name, class, label, colour and order.

The configuration, the command line, result files, tables and figures know a method by its name in `METHODS`. Imports
the standard library alone: `policies/registry.py` loads a policy class when it is asked for.
"""

from __future__ import annotations

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
        ranker: what orders the tokens where a label names no ranker.
    """

    policy: str
    look: Look
    ablation: bool = False
    ranker: str = "window_attention"


class RankerEntry(NamedTuple):
    """A ranker.

    Attributes:
        ranker: its class as `file.Class` in `sparsemm/policies/rankers/`.
        label: its name in tables and legends.
        marker: of the points of a method that uses it, as matplotlib names it.
    """

    ranker: str
    label: str
    marker: str


# In the order of every table and legend. The colours are Okabe and Ito's, safe for colour-blind readers; the markers
# distinguish the methods in grey.
METHODS: Mapping[str, Method] = {
    "fullkv": Method("fullkv.FullKV", Look("FullKV", "#000000", "", "--")),
    "sparsemm": Method("sparsemm.SparseMM", Look("SparseMM", "#D55E00", "o")),
    "snapkv": Method("snapkv.SnapKV", Look("SnapKV", "#0072B2", "s")),
    "pyramidkv": Method("pyramidkv.PyramidKV", Look("PyramidKV", "#009E73", "^")),
    "adakv": Method("adakv.AdaKV", Look("AdaKV", "#CC79A7", "D")),
    "visual_ada": Method("visual_ada.VisualAda", Look("VisualAda", "#44AA99", "h")),
    "duo_heads": Method("duo_heads.DuoHeads", Look("DuoHeads", "#882255", "p"), ranker="streaming"),
    "random_heads": Method("random_heads.RandomHeads", Look("Random", "#7F7F7F", "v", ":")),
    "local_window": Method("local_window.LocalWindow", Look("local window", "#8C6D31", "X"), ablation=True),
}
# Every method takes any of them: "sparsemm@key_norm".
RANKERS: Mapping[str, RankerEntry] = {
    "window_attention": RankerEntry("window_attention.WindowAttention", "window attention", "o"),
    "last_query": RankerEntry("last_query.LastQuery", "last query", ">"),
    "accumulated_attention": RankerEntry(
        "accumulated_attention.AccumulatedAttention", "accumulated attention", "<"
    ),
    "value_attention": RankerEntry("value_attention.ValueAttention", "value attention", "d"),
    "image_aware": RankerEntry("image_aware.ImageAware", "image aware", "8"),
    "key_norm": RankerEntry("key_norm.KeyNorm", "key norm", "1"),
    "key_diff": RankerEntry("key_diff.KeyDiff", "key difference", "2"),
    "streaming": RankerEntry("streaming.Streaming", "streaming", "3"),
    "random_tokens": RankerEntry("random_tokens.RandomTokens", "random tokens", "4"),
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
# When a prompt is compressed: with its question in it, or up to its image alone, before a question is known; then
# ranked by the image part's own last tokens ("agnostic"), or by a fixed generic instruction ("instructed").
QUESTIONS = ("aware", "agnostic", "instructed")
# Kinds of further probe sets, and the generated scenes that a model can read: upper-case letters and digits, or
# everything.
PROBE_KINDS = ("scripts", "wild", "shapes")
DOCUMENTS = ("plain", "rich")
# For labels that are not in METHODS, such as "sparsemm[rho=0.3]".
_SPARE_COLORS = ("#E69F00", "#56B4E9", "#5E3C99", "#A6761D")


def main_methods(labels: Iterable[str] = ()) -> list[str]:
    """Labels that tables and figures compare: the methods in the order of METHODS, then their pairs with a ranker.

    Args:
        labels: the labels at hand; those that pair a method without settings with a ranker are compared too.
    """
    main = [name for name, method in METHODS.items() if not method.ablation]
    return main + sorted(label for label in set(labels) if "@" in label and label.partition("@")[0] in main)


def look(name: str, index: int = 0) -> Look:
    """How a method is named and drawn; with a ranker ("sparsemm@key_norm") by its colour and the ranker's marker.

    Args:
        name: of a method, or a label with a ranker or with settings such as "sparsemm[rho=0.3]".
        index: chooses the spare colour of other labels.
    """
    if name in METHODS:
        return METHODS[name].look
    method, _, ranker = name.partition("@")
    found, _, settings = ranker.partition("[")
    if method in METHODS and found in RANKERS:
        own, entry = METHODS[method].look, RANKERS[found]
        return Look(f"{own.label}, {entry.label}{settings and f' [{settings}'}", own.color, entry.marker, ":")
    return Look(name, _SPARE_COLORS[index % len(_SPARE_COLORS)], "P")


def label_of(name: str) -> str:
    """A method's name in tables and legends; a label that is not in METHODS is returned as it is."""
    return look(name).label


def method_order(names: Iterable[str]) -> list[str]:
    """The names without repeats: methods in the order of METHODS, then other labels by name."""
    found = set(names)
    return [name for name in METHODS if name in found] + sorted(found - set(METHODS))
