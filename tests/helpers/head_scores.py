"""Made-up head scores and the per-image samples that they come from."""

from __future__ import annotations

import numpy as np

from sparsemm import HeadScores
from sparsemm.heads.samples import HeadSamples


def make_samples(images: int = 12, layers: int = 3, heads: int = 4, seed: int = 0) -> HeadSamples:
    rng = np.random.default_rng(seed)
    strength = np.arange(1, layers * heads + 1).reshape(layers, heads) ** 2
    hits = rng.poisson(strength / 10, (images, layers, heads)).astype(np.int64)
    return HeadSamples(
        image_ids=tuple(f"image-{i:03d}" for i in range(images)),
        hits=hits,
        weights=hits * rng.uniform(0.1, 0.5, hits.shape),
        matched=rng.integers(20, 40, images),
    )


def make_scores(**arguments) -> HeadScores:
    metadata = {"model": "tiny", "seed": 0}
    return HeadScores.from_samples(make_samples(), num_kv_heads=2, metadata=metadata, **arguments)
