"""How much of a given transcript a model gets right, of pages as text or as images.

The transcript is given and every token of it asked for: one forward pass tells how many tokens of words the model
finds, each after the true ones before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.modeling_utils import PreTrainedModel

from sparsemm.errors import InputError
from sparsemm.heads.probe import ProbeImage
from sparsemm.heads.text_reading import TextPage
from sparsemm.models.loading import build_inputs

Ints = NDArray[np.int64]


@torch.no_grad()
def right_of_text(model: PreTrainedModel, pages: Sequence[TextPage], *, batch_size: int = 8) -> Ints:
    """Tokens of the words of each page that the model finds, int64 [N], reading the page as text.

    Args:
        model: a language model, or a vision-language model, whose text model is then meant.
        pages: what is read.
        batch_size: pages in a forward pass.
    """
    decoder = model.get_decoder()  # type: ignore[no-untyped-call]
    found = []
    for start in range(0, len(pages), batch_size):
        batch = pages[start : start + batch_size]
        # Pads come last: no row sees them.
        ids = torch.zeros(len(batch), max(len(page.ids) for page in batch), dtype=torch.int64)
        for row, page in enumerate(batch):
            ids[row, : len(page.ids)] = torch.tensor(page.ids)
        hidden = decoder(input_ids=ids.to(model.device), use_cache=False).last_hidden_state
        found += [_right(model, page, hidden[row, : len(page.ids)]) for row, page in enumerate(batch)]
    return np.array(found, dtype=np.int64)


@torch.no_grad()
def right_of_images(
    model: PreTrainedModel,
    processor: Any,
    probe: Sequence[ProbeImage],
    pages: Sequence[TextPage],
    prompt: str,
) -> Ints:
    """The same of the pages' images, int64 [N]; the transcripts are those of `pages`.

    Raises:
        InputError: pages that are not those of the images.
    """
    if [item.id for item in probe] != [page.id for page in pages]:
        raise InputError("pages: not those of the images; give them in the same order")
    return np.array(
        [_right_of_image(model, processor, *each, prompt) for each in zip(probe, pages)], dtype=np.int64
    )


def with_answer(inputs: Mapping[str, torch.Tensor], answer: Sequence[int]) -> dict[str, torch.Tensor]:
    """The inputs of one prompt with an answer after it."""
    asked = inputs["input_ids"]
    more = torch.tensor([list(answer)], device=asked.device)
    whole = dict(inputs)
    for name, values in inputs.items():
        if values.shape == asked.shape:  # one entry a token: ids, the mask, kinds of tokens (0: text)
            entries = more if name == "input_ids" else torch.full_like(more, int(name == "attention_mask"))
            whole[name] = torch.cat([values, entries.to(values.dtype)], dim=1)
    return whole


def _right_of_image(
    model: PreTrainedModel, processor: Any, item: ProbeImage, page: TextPage, prompt: str
) -> int:
    inputs = build_inputs(processor, [item.image], [prompt], model.device)
    length = inputs["input_ids"].shape[1]
    inputs = with_answer(inputs, page.ids[page.steps[0] :])
    hidden = model.base_model(**inputs, use_cache=False).last_hidden_state[0]
    return _right(model, page, hidden, moved=length - page.steps[0])


def _right(model: PreTrainedModel, page: TextPage, hidden: torch.Tensor, *, moved: int = 0) -> int:
    """Steps of a page whose token the row before it, `moved` rows on in hidden [T, D], has as its most likely one."""
    steps = torch.tensor(page.steps, device=hidden.device)
    logits = model.get_output_embeddings()(hidden[steps - 1 + moved])  # type: ignore[no-untyped-call]
    wanted = torch.tensor(page.ids, device=hidden.device)[steps]
    return int((logits.argmax(dim=-1) == wanted).sum())
