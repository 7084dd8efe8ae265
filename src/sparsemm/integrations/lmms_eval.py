"""A model of lmms-eval that answers with a compressed KV cache.

    python -m lmms_eval --model sparsemm --tasks docvqa_val --batch_size 4 --device cuda \
        --model_args pretrained=models/llava-next,policy=sparsemm,budget=256,scores=scores.parquet

lmms-eval finds it through this package's entry point. The interface is that of lmms-eval 0.7.3: `api/model.py`, and the
chat models' requests (`models/chat/llava_hf.py`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.gen_metrics import log_metrics
from PIL import Image
from tqdm import tqdm  # type: ignore[import-untyped]

from sparsemm.errors import InputError
from sparsemm.evaluation.batches import cut
from sparsemm.generation.compress import compress
from sparsemm.heads.sharing import scores_at
from sparsemm.models import encode_chats, load_model, shape
from sparsemm.policies import make_policy

_LONGEST = 1024  # new tokens where a task sets no limit, as lmms-eval's own models have it
_SAMPLING = ("temperature", "top_p", "top_k")


class CompressedChat(lmms):  # type: ignore[misc]
    """Any supported family with any policy, for tasks that generate text about images.

    Args:
        pretrained: folder of the model.
        policy: label of a policy, such as "snapkv", "sparsemm[rho=0.3]" or "fullkv".
        budget: tokens per KV head, window included.
        window: newest tokens that are always kept.
        kernel: of the pooling over positions.
        scores: file or folder of head scores, or "hub:owner/name", for policies that use them.
        storage: of kept tokens: auto, int8 or int4.
        dtype: of the weights.
        device: where the model runs; with several processes each takes the GPU of its rank.
        batch_size: prompts at once.
        max_batch_size: not used; lmms-eval passes it.

    Raises:
        InputError: for a model, policy or scores that cannot be used, and unknown arguments.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str,
        policy: str = "sparsemm",
        budget: int = 256,
        window: int = 32,
        kernel: int = 5,
        scores: str | None = None,
        storage: str = "auto",
        dtype: str = "bfloat16",
        device: str = "cpu",
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        if unknown:
            raise InputError(f"model_args: {min(unknown)} is not known; leave it out")
        self.loaded = load_model(pretrained, device=_device_of_rank(device), dtype=dtype)
        self.storage, self.batch_size = storage, int(batch_size)
        self.policy = make_policy(
            policy,
            budget=budget,
            scores=None if scores is None else scores_at(scores),
            num_kv_heads=shape(self.loaded.model).num_kv_heads,
            window=window,
            kernel=kernel,
        )

    @property
    def device(self) -> torch.device:
        """Where the model is; lmms-eval counts requests of several processes there."""
        return torch.device(self.loaded.model.device)

    def generate_until(self, requests: Sequence[Any]) -> list[Any]:
        """Answers in the order of the requests, each with its tokens counted; the bytes kept go into the log.

        Args:
            requests: lmms-eval's instances, whose arguments are (context, messages of a document, generation options,
                document's index, task, split).
        """
        results: dict[int, Any] = {}
        kept_bytes, spent, written = 0, 0.0, 0
        bar = tqdm(total=len(requests), disable=self.rank != 0, desc="answers")
        for numbers, options in _alike(requests, self.batch_size):
            chats = [self._messages(requests[number].args) for number in numbers]
            begun = time.perf_counter()
            answers, new, prompt, size = self._answer(chats, options)
            spent, written, kept_bytes = (
                spent + time.perf_counter() - begun,
                written + sum(new),
                kept_bytes + size,
            )
            for number, text, count, length in zip(numbers, answers, new, prompt, strict=True):
                counts = TokenCounts(input_tokens=length, output_tokens=count)
                results[number] = GenerationResult(text=text, token_counts=counts)
                self.cache_hook.add_partial("generate_until", (requests[number].args[0], options), text)
            bar.update(len(numbers))
        bar.close()
        about = {"policy": self.policy.name, "cache_mib_a_prompt": kept_bytes / max(1, len(requests)) / 2**20}
        log_metrics(
            total_elapsed_time=spent,
            total_gen_tokens=written,
            avg_speed=written / spent if spent else 0.0,
            additional_metrics={"rank": self.rank, **about},
        )
        return [results[number] for number in range(len(requests))]

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Not supported: a policy compresses a prompt, and no answer is given."""
        raise NotImplementedError("sparsemm answers generate_until tasks; loglikelihood is not supported")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not supported."""
        raise NotImplementedError("sparsemm answers generate_until tasks; several rounds are not supported")

    def _messages(self, arguments: tuple[Any, ...]) -> list[dict[str, Any]]:
        _, messages_of, _, document, task, split = arguments
        messages: list[dict[str, Any]] = messages_of(self.task_dict[task][split][document])
        return messages

    @torch.no_grad()
    def _answer(
        self, chats: Sequence[Any], options: Mapping[str, Any]
    ) -> tuple[list[str], list[int], list[int], int]:
        """Texts, new tokens and prompt tokens of a batch, and the bytes of K and V kept."""
        model, tokenizer = self.loaded.model, self.loaded.processor.tokenizer
        texts, images = zip(*(_parts(chat) for chat in chats), strict=True)
        inputs = encode_chats(self.loaded, texts, images, self.device)
        length = inputs["input_ids"].shape[1]
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        generate: Any = model.generate
        with compress(model, self.policy, storage=self.storage) as run:
            out = generate(**inputs, **_sampling(options), pad_token_id=pad)
            size = run.cache_bytes
        until = options.get("until") or []
        until = [until] if isinstance(until, str) else list(until)
        ends = {int(tokenizer.eos_token_id), int(pad)}
        new = [sum(token not in ends for token in row) for row in out[:, length:].tolist()]
        said = tokenizer.batch_decode(out[:, length:], skip_special_tokens=True)
        prompts = inputs["attention_mask"].sum(dim=1).tolist()
        return [cut(text, until).strip() for text in said], new, prompts, size


def _device_of_rank(device: str) -> str:
    """The GPU of this process where several were started (accelerate, torchrun)."""
    import os

    rank = os.environ.get("LOCAL_RANK")
    return f"cuda:{rank}" if device == "cuda" and rank is not None else device


def _alike(requests: Sequence[Any], size: int) -> list[tuple[list[int], dict[str, Any]]]:
    """Numbers of requests with the same options, `size` at most, and the options."""
    groups: dict[str, tuple[list[int], dict[str, Any]]] = {}
    for number, request in enumerate(requests):
        options = dict(request.args[2])
        groups.setdefault(repr(sorted(options.items())), ([], options))[0].append(number)
    return [
        (numbers[at : at + size], options)
        for numbers, options in groups.values()
        for at in range(0, len(numbers), size)
    ]


def _sampling(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `generate`: greedy unless a temperature above 0 is asked for."""
    if int(options.get("num_beams") or 1) > 1:
        raise InputError("generation options: num_beams above 1 has no compressed cache; set num_beams=1")
    found: dict[str, Any] = {"max_new_tokens": int(options.get("max_new_tokens") or _LONGEST)}
    if not float(options.get("temperature") or 0) > 0:
        return found | {"do_sample": False, **dict.fromkeys(_SAMPLING)}
    given = {name: options[name] for name in _SAMPLING if options.get(name) is not None}
    return found | {"do_sample": True, **given}


def _parts(messages: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[Image.Image]]:
    """A conversation with places for its images, as chat templates take it, and the images in their order."""
    images: list[Image.Image] = []
    chat: list[dict[str, Any]] = []
    for message in messages:
        content: list[dict[str, str]] = []
        for part in message["content"]:
            kind = part["type"]
            if kind == "text":
                content.append({"type": "text", "text": part["text"]})
            elif kind == "image":
                content.append({"type": "image"})
                given = part["url"]
                images.append(given if isinstance(given, Image.Image) else Image.open(given).convert("RGB"))
            else:
                raise InputError(f"the task gives {kind}; only images and text are supported")
        chat.append({"role": message["role"], "content": content})
    return chat, images
