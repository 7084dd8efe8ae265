"""Further probe sets of generated scenes: other scripts, words in the wild, shapes named by colour and form."""

from __future__ import annotations

import random

from sparsemm.documents.scenes import STYLES, generate_scene
from sparsemm.errors import InputError
from sparsemm.heads.probe import ProbeImage, check_image


def generate_scenes(kind: str, count: int, seed: int, style: str = "rich") -> list[ProbeImage]:
    """``count`` scenes of a further probe set; image i depends on (kind, seed, i) and the style alone.

    Words of other scripts stand beside plain ones in faces that no shipped model was trained on.

    Args:
        kind: one of `sparsemm.methods.PROBE_KINDS`.
        count: number of images.
        seed: of the set.
        style: "rich" or "plain", what the model can read.

    Raises:
        InputError: if ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"probes: {count} images give an empty probe set; ask for at least 1")
    fonts = "held-out" if kind == "scripts" else "train"
    probe = []
    for index in range(count):
        rng = random.Random(f"{kind}/{seed}/{index}")
        scene = generate_scene(kind, rng, split="probe", style=STYLES[style], fonts=fonts)
        words = [word.text for word in scene.words]
        item = ProbeImage(f"{index:05d}", scene.image, words, list(scene.boxes))
        probe.append(check_image(item, f"{kind}, generated image {index}"))
    return probe
