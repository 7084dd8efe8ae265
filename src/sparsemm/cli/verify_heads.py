"""`sparsemm heads --verify FILE`: how far head scores agree with others of a model, and what may explain the rest."""

from __future__ import annotations

from math import ceil
from typing import Any

from sparsemm.cli.common import find_scores
from sparsemm.heads.scores import HeadScores

TOP = 0.05
# What scores depend on, and what the command line calls it; where two files differ in it, it may explain why.
_SETTINGS = {
    "model": "--model",
    "model_revision": "--model",
    "dataset": "--probe",
    "seed": "--seed",
    "probe_images": "--images",
    "max_new_tokens": "--max-new-tokens",
    "matching": "--matching",
    "convention": "--convention",
    "positions": "--positions",
    "generation": "--generation",
    "prompt": "",
}


def verified(scores: HeadScores, path: str) -> dict[str, Any]:
    """Rank correlation and shared best heads with the scores of a file, and the settings in which both differ.

    Raises:
        InputError: for a file that cannot be read, or scores of another shape.
    """
    other = find_scores(path, None)
    agreement = scores.agreement(other, top=TOP)
    mine, theirs = scores.metadata, other.metadata
    return {
        "file": path,
        "spearman": agreement.spearman,
        "spearman_interval": agreement.spearman_interval,
        "top": TOP,
        "top_heads": max(1, ceil(TOP * scores.values.size - 1e-9)),
        "overlap": agreement.overlap,
        "overlap_interval": agreement.overlap_interval,
        "settings_known": bool(theirs),
        "differing": [
            {"setting": name, "option": option, "here": mine.get(name), "there": theirs.get(name)}
            for name, option in _SETTINGS.items()
            if theirs and mine.get(name) != theirs.get(name)
        ],
    }


def shown(found: dict[str, Any]) -> list[str]:
    """The result as lines of text."""
    shared = round(found["overlap"] * found["top_heads"])
    lines = [
        f"against {found['file']}: rank correlation {found['spearman']:.3f}{_between(found['spearman_interval'])}, "
        f"{shared} of the best {found['top_heads']} heads ({found['top']:.0%}) are the same"
        f"{_between(found['overlap_interval'], percent=True)}"
    ]
    if not found["settings_known"]:
        options = ", ".join(dict.fromkeys(option for option in _SETTINGS.values() if option))
        lines.append(f"that file does not say how it was made; what may explain a difference: {options}")
    for each in found["differing"]:
        option = f" ({each['option']})" if each["option"] else ""
        lines.append(f"{each['setting']}{option}: {each['here']!r} here, {each['there']!r} there")
    return lines


def _between(ends: tuple[float, float] | None, *, percent: bool = False) -> str:
    if ends is None:
        return ""
    low, high = (f"{end:.0%}" if percent else f"{end:.3f}" for end in ends)
    return f" [{low}, {high}]"
