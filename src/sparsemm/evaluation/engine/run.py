"""One prefill, all cells: a batch of samples is prefilled once and decoded under every policy together.

Prefill is the same for every policy, only what decode sees differs. After each layer's attention its K and V are
kept once per sample, the prompt positions are ranked once per (window, kernel), and every policy says how many of
them it keeps; that decides the rows to decode. Policies that keep the same positions in every layer and head share
a row, and those that keep the whole prompt share the full cache's. Rows that are done leave the batch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers.modeling_utils import PreTrainedModel

from sparsemm.cache.attention import ragged_attention_in
from sparsemm.evaluation.engine.cache import EngineCache, EngineLayer, Prompt
from sparsemm.evaluation.engine.rows import RowGroup, cut_rows
from sparsemm.generation.prefill import PrefillLayer, capture_prefill, decode_step
from sparsemm.policies import LocalWindow, Policy
from sparsemm.policies.selection import pooled_attention, rank_positions

# What attending for one more group of rows costs in a layer, as multiply-adds of scores: some small operations.
_CALL_WORK = {"cpu": 600_000.0, "cuda": 100_000_000.0}
_LIVE_SHARE = 0.85  # finished rows are dropped once no more than this share of the batch is still going
Pair = tuple[int, int]  # window, kernel: what a ranking depends on


@dataclass(frozen=True)
class EngineOutput:
    """Answers and sizes of C cells for B samples."""

    tokens: list[list[list[int]]]  # [C][B] new tokens, without the stop token
    kept: torch.Tensor  # int64 [C, B, L, Hkv] prompt tokens kept, window included
    prompt_tokens: torch.Tensor  # int64 [B]
    rows: int  # rows really decoded, C * B less the shared ones


@dataclass
class _Layer:
    """What is held of one layer between prefill and decode."""

    keys: list[torch.Tensor]  # per sample [Hkv, D, T_b], pads cut off
    values: list[torch.Tensor]  # per sample [Hkv, T_b, D]
    ranks: dict[Pair, torch.Tensor]  # int32 [B, Hkv, T - window]
    keep: torch.Tensor  # int64 [C, B, Hkv] beyond the window


def _needs_ranks(policy: Policy) -> bool:
    return policy.budget is not None and not isinstance(policy, LocalWindow)


def _hold(seen: PrefillLayer, policies: Sequence[Policy], num_layers: int) -> _Layer:
    """Rank and count one layer's tokens for every policy, and cut its K and V to the samples' own lengths."""
    batch, _, total, _ = seen.key.shape
    lengths = [total] * batch if seen.valid is None else seen.valid.sum(-1).tolist()
    pooled: dict[Pair, torch.Tensor] = {}
    keep = []
    for policy in policies:
        pair = (policy.window, policy.kernel)
        if not _needs_ranks(policy):  # the count does not depend on the values: spare the ranking
            values = _unranked(seen, policy.window)
        else:
            if pair not in pooled:
                pooled[pair] = pooled_attention(
                    seen.query[:, :, -policy.window :],
                    seen.key,
                    window=policy.window,
                    kernel=policy.kernel,
                    scaling=seen.scaling,
                    valid=seen.valid,
                )
            values = pooled[pair]
        keep.append(policy.keep(values, layer=seen.index, num_layers=num_layers).to(seen.key.device))
    return _Layer(
        keys=[
            key[:, total - n :].transpose(1, 2).contiguous() for key, n in zip(seen.key, lengths, strict=True)
        ],
        values=[value[:, total - n :].contiguous() for value, n in zip(seen.value, lengths, strict=True)],
        ranks={pair: rank_positions(values).int() for pair, values in pooled.items()},
        keep=torch.stack(keep),
    )


def _unranked(seen: PrefillLayer, window: int) -> torch.Tensor:
    """A stand-in for pooled attention of the right shape, with its pads at -inf: float32 [B, Hkv, T - window]."""
    batch, heads, total, _ = seen.key.shape
    past = max(total - window, 0)
    values = seen.key.new_zeros((batch, heads, past), dtype=torch.float32)
    return values if seen.valid is None else values.masked_fill_(~seen.valid[:, None, :past], float("-inf"))


@dataclass(frozen=True)
class _Rows:
    """Which rows are decoded, in runs of one sample each, and the row of every (cell, sample)."""

    groups: list[RowGroup]
    of: np.ndarray  # int64 [C, B] row number


def _plan_rows(
    keep: torch.Tensor, lengths: Sequence[int], policies: Sequence[Policy], overhead: float
) -> _Rows:
    """Give equal kept sets one row, and rows of like size one group. keep: int64 [C, B, L, Hkv] beyond the window."""
    counts = keep.cpu().numpy()
    of = np.zeros(counts.shape[:2], dtype=np.int64)
    groups: list[RowGroup] = []
    total = 0
    for sample, length in enumerate(lengths):
        twins: dict[object, list[int]] = {}  # cells with the same kept set, in order of their first
        for cell, policy in enumerate(policies):
            mine = counts[cell, sample]
            whole = bool((mine >= length - policy.window).all())
            twins.setdefault("whole" if whole else (policy.window, policy.kernel, mine.tobytes()), []).append(
                cell
            )
        firsts = [cells[0] for cells in twins.values()]
        shares = {cells[0]: cells for cells in twins.values()}
        windows = np.array([policies[cell].window for cell in firsts])
        sizes = np.minimum(counts[firsts, sample].max(-1) + windows[:, None], length)  # [rows, L]
        for numbers, columns in cut_rows(sizes, overhead):
            cells = [firsts[number] for number in numbers]
            groups.append(RowGroup(sample, cells, columns))
            for row, cell in enumerate(cells, start=total):
                of[shares[cell], sample] = row
            total += len(cells)
    return _Rows(groups, of)


def _prompts(layer: _Layer, index: int, rows: _Rows, policies: Sequence[Policy]) -> list[Prompt]:
    """Each group's part of its sample's K and V in layer ``index``, with the mask of its rows."""
    prompts: list[Prompt] = []
    start = 0
    for group in rows.groups:
        key, value = layer.keys[group.sample], layer.values[group.sample]
        heads, _, length = key.shape
        dropped = torch.zeros(heads, len(group.cells), length, dtype=torch.bool, device=key.device)
        pairs = [(policies[cell].window, policies[cell].kernel) for cell in group.cells]
        for pair in set(pairs):
            past = max(length - pair[0], 0)
            mine = [row for row, other in enumerate(pairs) if other == pair]
            keep = layer.keep[[group.cells[row] for row in mine], group.sample].T[..., None]  # [Hkv, C', 1]
            if pair in layer.ranks:
                ranks = layer.ranks[pair][
                    group.sample, :, layer.ranks[pair].shape[-1] - past :
                ]  # [Hkv, past]
                dropped[:, mine, :past] = ranks[:, None] >= keep
            else:  # all or nothing beyond the window
                dropped[:, mine, :past] = keep < past
        prompts.append(Prompt.of(key, value, dropped, start, int(group.columns[index])))
        start += len(group.cells)
    return prompts


@torch.no_grad()
def run_cells(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    policies: Sequence[Policy],
    *,
    max_new_tokens: int,
    stop: Collection[int],
) -> EngineOutput:
    """Greedy answers of every policy for every sample, as separate `compress` + `generate` runs would give them.

    inputs: a left padded batch as `generate` gets it. stop: token ids that end an answer.
    """
    num_layers = int(model.config.get_text_config().num_hidden_layers)
    held: list[_Layer] = []
    prefilled = capture_prefill(model, inputs, lambda seen: held.append(_hold(seen, policies, num_layers)))
    lengths = [value.shape[1] for value in held[0].values]
    beyond = torch.stack([layer.keep for layer in held], 2)  # [C, B, L, Hkv]
    heads, width, _ = held[0].keys[0].shape
    overhead = _CALL_WORK.get(model.device.type, _CALL_WORK["cuda"]) / (heads * width)
    rows = _plan_rows(beyond, lengths, policies, overhead)
    layers: list[EngineLayer] = []
    while held:  # a layer's ranks, and what no row sees of its K and V, go as soon as its rows are made
        layers.append(EngineLayer(_prompts(held.pop(0), len(layers), rows, policies)))
    source = torch.tensor([group.sample for group in rows.groups for _ in group.cells])
    answers = _decode(
        model,
        EngineCache(layers),
        prefilled.logits.argmax(-1)[source.to(prefilled.logits.device)],
        prefilled.next_position[source.to(prefilled.next_position.device)],
        max_new_tokens=max_new_tokens,
        stop=frozenset(stop),
    )
    prompt_tokens = torch.tensor(lengths)
    windows = torch.tensor([policy.window for policy in policies])
    inside = torch.minimum(windows[:, None], prompt_tokens)[..., None, None]  # [C, B, 1, 1]
    return EngineOutput(
        tokens=[[answers[row] for row in cell] for cell in rows.of.tolist()],
        kept=beyond.cpu() + inside,
        prompt_tokens=prompt_tokens,
        rows=len(answers),
    )


def _decode(
    model: PreTrainedModel,
    cache: EngineCache,
    tokens: torch.Tensor,
    positions: torch.Tensor,
    *,
    max_new_tokens: int,
    stop: frozenset[int],
) -> list[list[int]]:
    """Greedy decode of all rows from their first tokens, int64 [R], at their true positions, int64 [R]."""
    answers: list[list[int]] = [[] for _ in range(len(tokens))]
    numbers = list(range(len(tokens)))  # which answer each row of the batch continues
    done: set[int] = set()
    with ragged_attention_in(model):
        for step in range(max_new_tokens):
            for number, token in zip(numbers, tokens.tolist(), strict=True):
                if token in stop:
                    done.add(number)
                elif number not in done:
                    answers[number].append(token)
            live = [row for row, number in enumerate(numbers) if number not in done]
            if not live or step == max_new_tokens - 1:
                break
            if len(live) <= _LIVE_SHARE * len(numbers):
                numbers = [numbers[row] for row in live]
                keep = torch.tensor(live, device=tokens.device)
                tokens, positions = tokens[keep], positions[keep]
                cache.keep_rows(keep)
            tokens = decode_step(model, tokens, positions, cache).argmax(-1)
            positions = positions + 1
    return answers
