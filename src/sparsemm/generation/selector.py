"""From a policy to the rule by which one cache layer selects the tokens it keeps of a prompt."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from sparsemm.cache.ragged import TokenSelector
from sparsemm.errors import InputError
from sparsemm.models.loading import shape
from sparsemm.policies import Policy
from sparsemm.policies.base import ranker_of
from sparsemm.policies.rankers import Ranker
from sparsemm.policies.selection import select

# The image tokens of the prompts being prefilled, bool [B, T]; called only for a ranker that needs them.
ImageTokens = Callable[[], torch.Tensor]


def token_selector(
    policy: Policy,
    layer: int,
    num_layers: int,
    images: ImageTokens | None = None,
    *,
    length: int | None = None,
) -> TokenSelector:
    """The selector of one layer at prefill under a policy; pads are never kept.

    Args:
        policy: what ranks the tokens and says how many each KV head keeps.
        layer: the layer's index.
        num_layers: text layers of the model.
        images: the image tokens, for a ranker that needs them.
        length: tokens that may be kept, the first ones; the others take part in the ranking and are all dropped, and
            the window is the newest of those that may be kept. None: all.
    """

    def select_tokens(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        valid: torch.Tensor | None,
        scaling: float,
    ) -> torch.Tensor:
        total = key.shape[2]
        own = total if length is None else length
        if policy.budget is None:
            everything = key.new_ones(key.shape[:3], dtype=torch.bool)
            everything[..., own:] = False
            return everything if valid is None else everything & valid[:, None]
        ranker = ranker_of(policy)
        image = image_of(ranker, images, key)
        ranked = ranker.rank(query, key, value, scaling=scaling, valid=valid, image=image)
        ranked = ranked[..., : max(own - policy.window, 0)]
        keep = policy.keep(ranked, layer=layer, num_layers=num_layers)
        real = None if valid is None else valid[:, :own]
        kept = select(ranked, keep, window=policy.window, valid=real, tokens=own)
        return torch.nn.functional.pad(kept, (0, total - own))

    return select_tokens


def image_of(ranker: Ranker, images: ImageTokens | None, key: torch.Tensor) -> torch.Tensor | None:
    """The image tokens on the key's device if the ranker needs them, else None."""
    if not ranker.needs_image:
        return None
    if images is None:
        raise InputError(f"the ranker {ranker.name} needs the image tokens, which are not known here")
    return images().to(key.device)


def find_image_tokens(model: PreTrainedModel, input_ids: torch.Tensor | None) -> torch.Tensor:
    """Which prompt tokens are an image's, bool [B, T].

    Raises:
        InputError: for a prompt given as embeddings.
    """
    if input_ids is None:
        raise InputError("the ranker needs the image tokens, which inputs_embeds do not tell; give input_ids")
    return input_ids == shape(model).image_token_id
