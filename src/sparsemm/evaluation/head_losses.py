"""What masking single heads, or small groups of heads, costs: how much less likely a model's own answers become.

The model answers without a mask; each mask is then one forward pass over prompt and answer. So one answer token more or
less shows, where a benchmark's score would need hundreds of samples for a single head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers.modeling_utils import PreTrainedModel

from sparsemm.heads.given_answers import with_answer
from sparsemm.heads.probe import ProbeImage
from sparsemm.heads.recording import generate_greedily
from sparsemm.heads.settings import ScoringSettings
from sparsemm.models.head_masks import mask_heads
from sparsemm.models.loading import build_inputs, shape

COLUMNS = ["image_id", "group", "heads", "loss", "tokens"]


def head_groups(heads: int, size: int, most: int | None, seed: int) -> list[list[int]]:
    """All heads in random groups of `size`, none twice, the last one smaller; the first `most` groups."""
    order = np.random.default_rng(seed).permutation(heads)
    groups = [sorted(order[start : start + size].tolist()) for start in range(0, heads, size)]
    return groups if most is None else groups[:most]


def head_losses(
    model: PreTrainedModel,
    processor: Any,
    probe: Sequence[ProbeImage],
    groups: Sequence[Sequence[int]],
    settings: ScoringSettings,
    *,
    how: str = "output",
) -> pd.DataFrame:
    """Negative log-likelihood of the model's own answers, in nats, without a mask and with each group masked.

    Args:
        model: a vision-language model.
        processor: its processor.
        probe: the images; a forward pass an image and group.
        groups: heads of each, as layer * heads of a layer + head.
        settings: prompt, max_new_tokens and generation are used.
        how: what is zeroed of a head; see `mask_heads`.

    Returns:
        Columns COLUMNS, a row an image and group; group 0 is no mask. Images without an answer are left out.
    """
    width = shape(model).num_heads
    rows: list[dict[str, Any]] = []
    for item in tqdm(probe, unit="image", desc="head losses"):
        inputs = build_inputs(processor, [item.image], [settings.prompt], model.device)
        length = settings.max_new_tokens
        (answer,) = generate_greedily(
            model, processor.tokenizer, inputs, length, generation=settings.generation
        )
        if not answer:
            continue
        whole = with_answer(inputs, answer)
        for number, group in enumerate([[], *groups]):
            with mask_heads(model, [divmod(head, width) for head in group], how=how):
                loss = _loss(model, whole, answer)
            about = {"image_id": item.id, "group": number, "heads": list(group)}
            rows.append({**about, "loss": loss, "tokens": len(answer)})
    return pd.DataFrame(rows, columns=COLUMNS)


@torch.no_grad()
def _loss(model: PreTrainedModel, inputs: dict[str, torch.Tensor], answer: Sequence[int]) -> float:
    hidden = model.base_model(**inputs, use_cache=False).last_hidden_state[0, -len(answer) - 1 : -1]
    likely = model.get_output_embeddings()(hidden).float().log_softmax(dim=-1)  # type: ignore[no-untyped-call]
    wanted = torch.tensor(answer, device=likely.device)
    return float(-likely.gather(1, wanted[:, None]).double().sum())
