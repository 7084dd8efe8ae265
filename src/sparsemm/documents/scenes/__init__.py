"""Generated scenes, the further probe sets: other scripts, words in the wild, shapes named by colour and form.

They stand in for the sets that the paper finds visual heads on beside SynthDoG: MLT (many scripts), CTW (text in the
wild) and COCO (objects, with large boxes).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from sparsemm.documents.scenes.base import (
    DESCRIBE_PROMPT,
    PLAIN,
    PROMPTS,
    RICH,
    STYLES,
    Scene,
    SceneStyle,
)
from sparsemm.documents.scenes.shapes import shapes_scene
from sparsemm.documents.scenes.written import scripts_scene, wild_scene
from sparsemm.methods import PROBE_KINDS

_MAKERS: dict[str, Callable[..., Scene]] = {
    "scripts": scripts_scene,
    "wild": wild_scene,
    "shapes": shapes_scene,
}
KINDS = PROBE_KINDS
__all__ = [
    "DESCRIBE_PROMPT",
    "KINDS",
    "PLAIN",
    "PROMPTS",
    "RICH",
    "STYLES",
    "Scene",
    "SceneStyle",
    "generate_scene",
]


def generate_scene(
    kind: str, rng: random.Random, *, split: str, style: SceneStyle = RICH, fonts: str = "train"
) -> Scene:
    """Generate one scene.

    Args:
        kind: "scripts", "wild" or "shapes".
        rng: the only source of randomness.
        split: "train", "eval" or "probe"; no random word, and no list of shapes, is in two splits.
        style: RICH, or PLAIN for a model that reads upper-case letters and digits in tiles of 64 px alone.
        fonts: group of faces, "train" or "held-out". A script that none of the group has is set in a face of "train".

    Raises:
        ValueError: for an unknown kind, split or group of fonts.
    """
    if kind not in _MAKERS:
        raise ValueError(f"kind {kind!r} is unknown: use one of {', '.join(KINDS)}")
    return _MAKERS[kind](rng, split=split, style=style, group=fonts)
