"""The visual score's twin for text: which heads look at a character of a page while a model copies it.

The page stands in the prompt as text, a token a character, and the transcript after it. A head hits where the row that
produces a token of the transcript has its maximum inside the tokens of that token's word on the page; it gets 1 / |I|,
as in Algorithm 1 of the paper. The transcript is given, not generated, so that a model that reads badly is asked about
the same tokens as one that reads well.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import PreTrainedModel

from sparsemm.errors import InputError
from sparsemm.heads.samples import Counts, Floats, HeadSamples
from sparsemm.heads.scores import HeadScores
from sparsemm.models.patching import attention_implementation, patched
from sparsemm.models.text import text_layers

NAME = "sparsemm_text_reading"
_RECORDER = "sparsemm_text_recorder"


@dataclass(frozen=True)
class TextPage:
    """A page as text, and its transcript.

    Attributes:
        id: of the page.
        ids: [T], token ids of prompt and transcript.
        steps: [N], positions in ids of the transcript's tokens that belong to a word of the page, rising.
        sources: [N], the positions of that word's tokens on the page, each before the step.
    """

    id: str
    ids: tuple[int, ...]
    steps: tuple[int, ...]
    sources: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.sources) or not self.steps or list(self.steps) != sorted(self.steps):
            raise InputError(f"page {self.id}: give rising steps, and the source of each")
        for step, source in zip(self.steps, self.sources):
            if not source or not 0 <= min(source) <= max(source) < step < len(self.ids):
                raise InputError(
                    f"page {self.id}: step {step} has no source before it, or is not in the page"
                )


class _Peaks:
    """The key position that each query head attends to most, for every row from `first` on."""

    def __init__(self, num_layers: int, first: int) -> None:
        self.first = first
        self.layers: list[torch.Tensor | None] = [None] * num_layers

    def take(self, layer: int, query: torch.Tensor, key: torch.Tensor) -> None:
        """query [B, Hq, T, D], key [B, Hkv, T, D]; the scale changes no maximum."""
        batch, heads, length, width = query.shape
        rows = length - self.first
        grouped = query[:, :, self.first :].reshape(batch, key.shape[1], -1, width)  # [B, Hkv, G * rows, D]
        logits = (grouped @ key.transpose(-1, -2)).view(batch, heads, rows, length)
        later = torch.ones(rows, length, dtype=torch.bool, device=key.device).triu(self.first + 1)
        self.layers[layer] = logits.masked_fill_(later, float("-inf")).argmax(dim=-1)

    def stacked(self) -> Counts:
        """int64 [B, L, Hq, rows]."""
        found = [layer for layer in self.layers if layer is not None]
        return np.asarray(torch.stack(found, dim=1).cpu().numpy(), dtype=np.int64)


def reading_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention [B, Hq, T, D] -> [B, T, Hq, D] that shows its queries and keys to the module's recorder."""
    getattr(module, _RECORDER).take(module.layer_idx, query, key)
    out, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    return out, None


def score_text(
    model: PreTrainedModel,
    pages: Sequence[TextPage],
    *,
    batch_size: int = 8,
    seed: int = 0,
    no_match: str = "error",
    metadata: dict[str, Any] | None = None,
) -> HeadScores:
    """Scores of every query head of a language model, with bootstrap intervals over the pages.

    Args:
        model: a language model, or a vision-language model, whose text model is then meant.
        pages: what is read; ids differ.
        batch_size: pages in a forward pass.
        seed: of the bootstrap.
        no_match: where no head hits: ``error``, or ``uniform``, the same score for every head.
        metadata: recorded with the scores.

    Raises:
        InputError: no pages, two with the same id, or no head that hits.
    """
    samples = text_samples(model, pages, batch_size=batch_size)
    kv_heads = int(model.config.get_text_config().num_key_value_heads)
    if no_match == "uniform" and not samples.weights.any():
        said = {**(metadata or {}), "no_match": "uniform: no head hit"}
        return HeadScores.uniform(samples, num_kv_heads=kv_heads, metadata=said)
    return HeadScores.from_samples(samples, num_kv_heads=kv_heads, metadata=metadata, seed=seed)


def text_samples(model: PreTrainedModel, pages: Sequence[TextPage], *, batch_size: int = 8) -> HeadSamples:
    """Hits, weights and matched tokens of each page, sorted by id; see `score_text`."""
    if not pages or len({page.id for page in pages}) < len(pages):
        raise InputError("pages: none, or two with the same id; give every page its own")
    ordered = sorted(pages, key=lambda page: page.id)
    AttentionInterface.register(NAME, reading_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    counted = []
    for start in range(0, len(ordered), batch_size):
        batch = ordered[start : start + batch_size]
        peaks, first = _peaks(model, batch)
        counted += [_count(page, peaks[row], first) for row, page in enumerate(batch)]
    hits, weights = (np.stack(side) for side in zip(*counted, strict=True))
    matched = np.array([len(page.steps) for page in ordered], dtype=np.int64)
    return HeadSamples(tuple(page.id for page in ordered), hits, weights, matched)


@torch.no_grad()
def _peaks(model: PreTrainedModel, batch: Sequence[TextPage]) -> tuple[Counts, int]:
    """int64 [B, L, Hq, rows]: where each row from the second value on peaks. Pads come last: no row sees them."""
    ids = torch.zeros(len(batch), max(len(page.ids) for page in batch), dtype=torch.int64)
    for row, page in enumerate(batch):
        ids[row, : len(page.ids)] = torch.tensor(page.ids)
    first = min(page.steps[0] for page in batch) - 1
    modules = [layer.get_submodule("self_attn") for layer in text_layers(model)]
    recorder = _Peaks(len(modules), first)
    decoder = model.get_decoder()  # type: ignore[no-untyped-call]
    with ExitStack() as undo:
        for module in modules:
            undo.enter_context(patched(module, _RECORDER, recorder))
        undo.enter_context(attention_implementation(model, NAME))
        decoder(input_ids=ids.to(model.device), use_cache=False)
    return recorder.stacked(), first


def _count(page: TextPage, peaks: Counts, first: int) -> tuple[Counts, Floats]:
    """Hits and weights [L, Hq] of one page, from its peaks [L, Hq, rows]."""
    hits = np.zeros(peaks.shape[:2], dtype=np.int64)
    weights = np.zeros(peaks.shape[:2], dtype=np.float64)
    for step, source in zip(page.steps, page.sources):
        inside = np.isin(peaks[:, :, step - 1 - first], source)
        hits += inside
        weights += inside / len(set(source))
    return hits, weights
