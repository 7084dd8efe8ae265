"""One prefill, all cells: a batch of samples is prefilled once and decoded under every policy together.

Prefill is the same for every policy, only what decode sees differs. Policies that keep the same positions in every
layer and head share a decoded row; those that keep the whole prompt share the full cache's row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_utils import PreTrainedModel

from sparsemm.evaluation.engine.cache import EngineCache, EngineLayer
from sparsemm.evaluation.engine.decode import Counts, GreedyChoice, RowDecoder
from sparsemm.evaluation.engine.held import HeldLayer, hold_layer, make_prompts
from sparsemm.evaluation.engine.lengths import DraftLengths, PassCost
from sparsemm.evaluation.engine.rows import plan_rows
from sparsemm.evaluation.engine.sources import drafting_rows, whole_rows
from sparsemm.generation.prefill import capture_prefill
from sparsemm.models.generation_settings import make_processors
from sparsemm.policies import Policy

# What one more group of rows costs in a layer, as multiply-adds of scores: the launches of some small operations.
_CALL_WORK = {"cpu": 600_000.0, "cuda": 100_000_000.0}
# What a forward pass costs, by which drafts are cut; None: no drafts. On a CPU no clear gain has been seen, in a few
# timings of 10 and 20 samples of the embedded model on a busy machine. On a GPU, where a pass should cost as much for
# one token as for several, they have not been tried.
PASS_COST: dict[str, PassCost | None] = {"cpu": None, "cuda": None}


@dataclass(frozen=True)
class EngineOutput:
    """Answers and sizes of C cells for B samples."""

    tokens: list[list[list[int]]]  # [C][B] new tokens, without the stop token
    kept: torch.Tensor  # int64 [C, B, L, Hkv] prompt tokens kept, window included
    prompt_tokens: torch.Tensor  # int64 [B]
    rows: int  # rows decoded: C * B less the shared ones
    counts: Counts  # forward passes and tokens that decoding took


@torch.no_grad()
def run_cells(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    policies: Sequence[Policy],
    *,
    max_new_tokens: int,
    stop: Collection[int],
    generation: str = "model",
    cost: PassCost | None = None,
    same: Sequence[str] | None = None,
) -> EngineOutput:
    """Greedy answers of every policy for every sample, equal to those of separate `compress` + `generate` runs.

    Args:
        model: a vision-language model.
        inputs: a left padded batch as `generate` gets it.
        policies: one a cell.
        max_new_tokens: longest answer.
        stop: token ids that end an answer.
        generation: "model": the settings of the model's generation_config act as in `generate`; "plain": none does.
        cost: what a forward pass costs, by which drafts are cut; that of the model's device if left out.
        same: a name of every sample's image: what prompts of one image begin with is prefilled once. K and V of each
            sample are held whole all the same, as long as its rows are decoded.

    Raises:
        InputError: for settings of generation_config that greedy decoding cannot follow.
    """
    processors = make_processors(
        model,
        inputs["input_ids"],
        inputs.get("attention_mask"),
        max_new_tokens=max_new_tokens,
        generation=generation,
    )
    num_layers = int(model.config.get_text_config().num_hidden_layers)
    held: list[HeldLayer] = []
    prefilled = capture_prefill(
        model, inputs, lambda seen: held.append(hold_layer(seen, policies, num_layers)), same=same
    )
    lengths = [value.shape[1] for value in held[0].values]
    beyond = torch.stack([layer.keep for layer in held], 2)  # [C, B, L, Hkv]
    heads, width, _ = held[0].keys[0].shape
    overhead = _CALL_WORK.get(model.device.type, _CALL_WORK["cuda"]) / (heads * width)
    rows = plan_rows(beyond, lengths, policies, overhead)
    layers: list[EngineLayer] = []
    while held:  # a layer's ranks, and K and V that no row sees, are freed as soon as its rows are made
        layers.append(EngineLayer(make_prompts(held.pop(0), len(layers), rows.groups, policies)))
    sources = [group.sample for group in rows.groups for _ in group.cells]
    source = torch.tensor(sources)
    if cost is None:
        cost = PASS_COST.get(model.device.type, PASS_COST["cuda"])
    decoder = RowDecoder(
        model,
        EngineCache(layers),
        GreedyChoice(processors, sources),
        max_new_tokens=max_new_tokens,
        stop=frozenset(stop),
        lengths=None if cost is None else DraftLengths(cost),
        drafted_by=drafting_rows(rows.of, policies),
        lead=whole_rows(rows.of, policies) if cost is not None and cost.lead else (),
    )
    answers = decoder.run(
        prefilled.logits[source.to(prefilled.logits.device)],
        prefilled.next_position[source.to(prefilled.next_position.device)],
    )
    prompt_tokens = torch.tensor(lengths)
    windows = torch.tensor([policy.window for policy in policies])
    inside = torch.minimum(windows[:, None], prompt_tokens)[..., None, None]  # [C, B, 1, 1]
    return EngineOutput(
        tokens=[[answers[row] for row in cell] for cell in rows.of.tolist()],
        kept=beyond.cpu() + inside,
        prompt_tokens=prompt_tokens,
        rows=len(answers),
        counts=decoder.counts,
    )
