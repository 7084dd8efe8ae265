"""Question-agnostic cells: an image's prefix is prefilled once, compressed in every cell, then asked its questions.

The prefix ends with the last image token and is ranked before any question is known: as a prompt of its own, or by a
fixed generic instruction behind it, which is dropped afterwards. The question's tokens are all kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import PreTrainedModel

from sparsemm.benchmarks import Benchmark, Sample
from sparsemm.cache.attention import ragged_attention_in
from sparsemm.cache.ragged import RaggedCache
from sparsemm.evaluation.batches import cut
from sparsemm.evaluation.engine.decode import GreedyChoice
from sparsemm.evaluation.images import ImageMemory, split_unreadable
from sparsemm.evaluation.settings import RunSettings
from sparsemm.families import family_of
from sparsemm.generation.prefill import PrefillLayer, capture_prefill, decode_step
from sparsemm.generation.prefix import GENERIC_INSTRUCTION, instruction_tokens
from sparsemm.generation.prefix_inputs import PrefixInputs, parts_after
from sparsemm.generation.selector import image_of
from sparsemm.models.generation_settings import make_processors
from sparsemm.models.loading import Loaded, build_inputs, shape
from sparsemm.models.text import end_tokens
from sparsemm.policies import Policy
from sparsemm.policies.base import ranker_of
from sparsemm.policies.rankers import Ranker
from sparsemm.policies.selection import select

_LIVE_SHARE = 0.7  # cells that have ended leave once no more than this share of them goes on


@dataclass(frozen=True)
class AgnosticAnswer:
    """One sample under every policy.

    Attributes:
        sample: the sample.
        texts: answers, [C].
        prompt_tokens: of the whole prompt.
        kept: prompt tokens in the cache, int64 [C, L, Hkv]: what is kept of the prefix, and the question.
    """

    sample: Sample
    texts: list[str]
    prompt_tokens: int
    kept: torch.Tensor


def answer_agnostic(
    loaded: Loaded,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    policies: Sequence[Policy],
    settings: RunSettings,
    memory: ImageMemory | None = None,
    *,
    rank_by: str = "window",
) -> tuple[list[AgnosticAnswer], list[str]]:
    """Answer one batch under every policy; the prefix of an image is prefilled once for all its questions.

    Args:
        loaded: the model.
        benchmark: of the samples.
        samples: the batch.
        policies: one a cell.
        settings: of the run.
        memory: of encoded images; None to prepare every sample's by itself.
        rank_by: "window" or "instruction", as in `compress_prefix`.

    Returns:
        The answers, and the ids of samples whose image cannot be decoded.
    """
    answers: list[AgnosticAnswer] = []
    longest, until = settings.answers_of(benchmark, loaded.family)
    stop, decode = end_tokens(loaded.model), loaded.processor.tokenizer.decode
    image_token = shape(loaded.model).image_token_id
    readable, unreadable = _readable(samples, memory)
    by_image: dict[str, list[Sample]] = {}
    for sample in readable:
        by_image.setdefault(sample.image_id, []).append(sample)
    for group in by_image.values():
        prefixed: tuple[PrefixInputs, RaggedCache] | None = None
        for sample in group:
            prompt = benchmark.prompt(sample.data, loaded.family, rules=settings.rules)
            inputs = _inputs(loaded, sample, prompt, memory)
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
            if prefixed is None:
                prefix = PrefixInputs.of(inputs, image_token)
                asked = None
                if rank_by == "instruction":
                    asked = instruction_tokens(loaded.processor, GENERIC_INSTRUCTION, ids)
                prefixed = prefix, prefix_cells(loaded.model, inputs, prefix, policies, asked)
            prefix, cells = prefixed
            question, _ = parts_after(prefix, ids, mask, image_token)
            processors = make_processors(
                loaded.model, ids, mask, max_new_tokens=longest, generation=settings.generation
            )
            choose = GreedyChoice(processors, [0] * len(policies))
            tokens = ask(loaded.model, prefix, cells, question, choose, max_new_tokens=longest, stop=stop)
            texts = [cut(decode(own, skip_special_tokens=True), until).strip() for own in tokens]
            kept = cells.kept.transpose(0, 1).cpu() + question.shape[1]
            answers.append(AgnosticAnswer(sample, texts, ids.shape[1], kept))
    return answers, unreadable


def _readable(samples: Sequence[Sample], memory: ImageMemory | None) -> tuple[list[Sample], list[str]]:
    """The samples whose image can be decoded, and the ids of the others."""
    if memory is not None:
        return memory.encode(samples)
    readable, _, unreadable = split_unreadable(samples)
    return readable, unreadable


def _inputs(loaded: Loaded, sample: Sample, prompt: str, memory: ImageMemory | None) -> dict[str, Any]:
    """The model's inputs of one whole prompt."""
    if memory is not None:
        return memory.inputs([sample], [prompt])
    return build_inputs(loaded, [sample.image.open()], [prompt], loaded.model.device)


def prefix_cells(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    prefix: PrefixInputs,
    policies: Sequence[Policy],
    instruction: torch.Tensor | None = None,
) -> RaggedCache:
    """The prefix of one prompt, compressed by every policy: a cache with a row for each, without room for more.

    Args:
        model: a vision-language model.
        inputs: the whole prompt's, of one row without pads.
        prefix: its cut inputs.
        policies: one a row.
        instruction: int64 [1, I], text that the prefix is ranked by; None: its own last tokens.
    """
    length = prefix.ids.shape[1]
    ranking = length if instruction is None else length + instruction.shape[1]  # tokens that take part in it
    cache = RaggedCache(shape(model).num_layers, seen=length)

    def pack(seen: PrefillLayer) -> None:
        own = replace(
            seen,
            query=seen.query[:, :, :ranking],
            key=seen.key[:, :, :ranking],
            value=seen.value[:, :, :ranking],
            images=lambda: whole["input_ids"][:, :ranking] == image_token,
        )
        kept = torch.cat(_kept(own, policies, len(cache.ragged), length))  # [C, Hkv, P]
        source = torch.zeros(len(policies), dtype=torch.long, device=own.key.device)
        key, value = own.key[:, :, :length], own.value[:, :, :length]
        cache.ragged[seen.index].pack(key, value, kept, source=source)

    image_token = shape(model).image_token_id
    # Positions need text after the image; causal attention does not show it to the prefix.
    after = inputs["input_ids"][:, length : length + 1] if instruction is None else instruction
    whole = {**prefix.followed_by(after, torch.ones_like(after)), **prefix.vision}
    capture_prefill(model, whole, pack)
    return cache


def _kept(seen: PrefillLayer, policies: Sequence[Policy], num_layers: int, length: int) -> list[torch.Tensor]:
    """What each policy keeps in one layer of the first tokens of an unpadded prompt, bool [1, Hkv, length] each.

    The tokens behind `length` take part in the ranking. Equal rankers rank once.
    """
    ranked: dict[Ranker, torch.Tensor] = {}
    found = []
    for policy in policies:
        if policy.budget is None:
            shape_of = (*seen.key.shape[:2], length)
            found.append(torch.ones(shape_of, dtype=torch.bool, device=seen.key.device))
            continue
        ranker = ranker_of(policy)
        if ranker not in ranked:
            image = image_of(ranker, seen.images, seen.key)
            sides = seen.query, seen.key, seen.value
            ranked[ranker] = ranker.rank(*sides, scaling=seen.scaling, image=image)
        own = ranked[ranker][..., : max(length - policy.window, 0)]
        keep = policy.keep(own, layer=seen.index, num_layers=num_layers)
        found.append(select(own, keep, window=policy.window, tokens=length))
    return found


@torch.no_grad()
def ask(
    model: PreTrainedModel,
    prefix: PrefixInputs,
    cells: RaggedCache,
    question: torch.Tensor,
    choose: GreedyChoice,
    *,
    max_new_tokens: int,
    stop: Collection[int],
) -> list[list[int]]:
    """The greedy answer of every row of the compressed prefix to one question, int64 [1, S]; `cells` is not changed."""
    family, rows = family_of(model), len(cells.kept[0])
    whole = prefix.followed_by(question, torch.ones_like(question))
    positions, following = family.prefill_positions(model, whole)
    positions = positions[..., prefix.ids.shape[1] :]
    cache = RaggedCache.combine([cells], reserve=question.shape[1] + max_new_tokens)
    written: list[list[int]] = [[] for _ in range(rows)]
    live = list(range(rows))  # the cache's rows, cells that have just ended among them
    with ragged_attention_in(model):
        logits = model(
            input_ids=question.expand(rows, -1),
            position_ids=positions.expand(*positions.shape[:-2], rows, -1),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        for step in range(max_new_tokens):
            chosen = choose(logits, live, [written[row] for row in live])
            ended = [bool(written[row]) and written[row][-1] in stop for row in live]
            for row, token, over in zip(live, chosen, ended):
                if not over:
                    written[row].append(token)
            going = [at for at, row in enumerate(live) if written[row][-1] not in stop]
            if not going or step + 1 == max_new_tokens:
                break
            if len(going) <= _LIVE_SHARE * len(live):
                cache.keep_rows(torch.tensor(going, device=question.device))
                live = [live[at] for at in going]
            last = torch.tensor([written[row][-1] for row in live], device=question.device)
            at = (following + step).to(question.device).expand(len(live))
            logits = decode_step(model, last, at, cache)
    return written
