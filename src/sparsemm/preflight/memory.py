"""Memory that an evaluation job holds at its peak, from sizes alone: an estimate, from above where it cannot know.

It follows the engine (`sparsemm.evaluation.engine`). Prefill leaves each layer's K, V and ranks; the rows of all cells
see parts of one prompt's K and V; groups of rows that see less than 0.8 of a prompt share a copy of their part, and
grouping stops where another group costs more than it saves. Every row has K and V of its own new tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparsemm.evaluation.engine.bucketing import bucket_rows
from sparsemm.preflight.sizes import ModelSizes

# The engine's own constants; a test compares them.
CALL_WORK = {"cpu": 600_000.0, "cuda": 100_000_000.0}
COPY_BELOW = 0.8
BLOCK = 16

# The most that a head sees, against the budget: these give every head the same, others more to some.
EVEN = ("snapkv", "local_window")
UNEVEN = 2
FULL = 0  # budget of the full cache


@dataclass(frozen=True)
class Memory:
    """Bytes by what holds them.

    Attributes:
        weights: of the model.
        prompts: K and V of every prompt of a batch in all layers, which the full cache's row sees.
        layer: one layer's K and V once more, before they are copied.
        ranks: of the prompt's tokens, in all layers.
        rows: the copies that groups of rows see, and every row's mask.
        new_tokens: K and V of all rows' new tokens, at the longest answers.
        prefill: activations of the prefill: one layer of the text model, or the vision tower.
        decode: activations and logits of a decode step.
    """

    weights: int
    prompts: int
    layer: int
    ranks: int
    rows: int
    new_tokens: int
    prefill: int
    decode: int

    @property
    def peak(self) -> int:
        """Bytes at the end of the prefill, or at the last decode step, whichever is more."""
        prefill = self.ranks + self.layer + self.prefill
        return self.weights + self.prompts + max(prefill, self.rows + self.new_tokens + self.decode)


@dataclass(frozen=True)
class Work:
    """One job's largest batch.

    Attributes:
        cells: (policy label, budget), each a row of every prompt; budget 0 is the full cache.
        tokens: of the longest prompt, which all prompts of a batch are padded to.
        image_tokens: those of them that stand for the image.
        window: newest tokens, which rank the others.
        new_tokens: of the longest answer.
        batch: prompts at once.
        element: bytes of a number in the model's dtype.
        device: "cpu" or "cuda".
    """

    cells: Sequence[tuple[str, int]]
    tokens: int
    image_tokens: int
    window: int
    new_tokens: int
    batch: int
    element: int
    device: str


def job_memory(sizes: ModelSizes, weights: int, work: Work) -> Memory:
    """The estimate for one job.

    Args:
        sizes: of the model.
        weights: numbers in its weight files.
        work: its largest batch.
    """
    element, tokens = work.element, work.tokens
    prompt = work.batch * tokens
    rows = work.batch * len(_seen(work))
    kv = sizes.kv_bytes(element)
    return Memory(
        weights=weights * element,
        prompts=prompt * kv,
        layer=prompt * kv // sizes.layers,
        ranks=4 * work.batch * sizes.layers * sizes.kv_heads * max(tokens - work.window, 0),
        rows=work.batch * _copies(sizes, work),
        new_tokens=rows * kv * _grown(work.new_tokens),
        prefill=max(_text(sizes, work), _vision(sizes, work)),
        decode=_decode(sizes, work),
    )


def _seen(work: Work) -> list[int]:
    """The most prompt tokens that a head of each row sees; cells that see all of them share one row."""
    part = []
    for label, budget in work.cells:
        most = budget * (1 if label.partition("[")[0] in EVEN else UNEVEN)
        if budget != FULL and budget < work.tokens:
            part.append(min(most, work.tokens))
    return [work.tokens, *part]


def _copies(sizes: ModelSizes, work: Work) -> int:
    """Bytes of the copies that the groups of one prompt's rows see, and of their masks."""
    heads = sizes.kv_heads
    overhead = CALL_WORK[work.device] / (heads * sizes.head_dim)
    held = 0
    for rows, columns in bucket_rows(np.array(_seen(work))[:, None], overhead):
        width = int(columns[0])
        held += len(rows) * width * sizes.layers * heads * work.element
        if width <= COPY_BELOW * work.tokens:
            held += width * sizes.kv_bytes(work.element)
    return held


def _grown(tokens: int) -> int:
    """Slots for `tokens` new tokens: a block that doubles when it is full."""
    return BLOCK << math.ceil(math.log2(max(tokens / BLOCK, 1)))


def _text(sizes: ModelSizes, work: Work) -> int:
    """One layer of the text model over all prompts: residual, normed input, and q, k, v twice or the MLP's three."""
    attention = 2 * sizes.head_dim * (sizes.heads + 2 * sizes.kv_heads)
    widest = max(attention, 3 * sizes.intermediate)
    mask = work.batch * work.tokens**2 * (1 + work.element) if work.batch > 1 else 0
    ranking = 3 * 4 * work.batch * sizes.heads * min(work.window, work.tokens) * work.tokens
    inner = work.batch * work.tokens * (3 * sizes.hidden + widest) * work.element
    return inner + mask + min(ranking, 1 << 27)


def _vision(sizes: ModelSizes, work: Work) -> int:
    """The vision tower over all images; towers of tiles keep the hidden states of all layers until they end."""
    kept = (sizes.vision_layers + 1) * sizes.vision_hidden if sizes.tile else 0
    inner = 4 * sizes.vision_hidden + 2 * sizes.vision_intermediate
    return work.batch * work.image_tokens * sizes.merge**2 * (kept + inner) * work.element


def _decode(sizes: ModelSizes, work: Work) -> int:
    """A decode step: attention scores of one group in the model's dtype and float32, logits of all rows."""
    count = len(_seen(work))
    seen = 3 * 4 * count * sizes.heads * (work.tokens + work.new_tokens)
    return seen + work.batch * count * (sizes.vocabulary * 2 + 3 * sizes.intermediate) * work.element
