"""Prompts about the same image as one row of tokens: what they begin with once, then what follows in each of them.

Everything but attention works on single tokens. So a batch in which prompts begin alike, with the image and often the
first words of the question, is computed as one long row without pads, in which a token sees its own prompt alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sparsemm.cache.layer import AttentionInputs

_TOKENS = ("input_ids", "mm_token_type_ids")


@dataclass(frozen=True)
class Part:
    """Tokens [start, stop) of the row, which see themselves and those of [begin, end) before them."""

    start: int
    stop: int
    begin: int = 0
    end: int = 0


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a left-padded batch [B, T] are in one row of N.

    Attributes:
        places: of the row's tokens in the flattened batch, int64 [N].
        back: of the batch's tokens in the row, int64 [B, T]; 0 at pads.
        parts: of the row, in its order.
        rows: of the batch, whose images are those of the row, in its order.
        image_tokens: of every row of the batch.
    """

    places: torch.Tensor
    back: torch.Tensor
    parts: tuple[Part, ...]
    rows: tuple[int, ...]
    image_tokens: tuple[int, ...]

    @classmethod
    def of(
        cls, ids: torch.Tensor, mask: torch.Tensor, image_token: int, images: Sequence[str]
    ) -> Packing | None:
        """Pack a batch; None where no two prompts can share anything.

        Args:
            ids: int64 [B, T], left padded.
            mask: [B, T], 0 at pads.
            image_token: its id.
            images: a name of every prompt's image or images.
        """
        groups: dict[str, list[int]] = {}
        for row, name in enumerate(images):
            groups.setdefault(name, []).append(row)
        if len(groups) == len(images):
            return None
        total = ids.shape[1]
        firsts = (total - mask.sum(-1)).tolist()  # of every row's tokens, its column
        shared = {}
        for name, rows in groups.items():
            if len(rows) > 1 and (common := _common(ids, rows, firsts, image_token)):
                shared[name] = common
        if not shared:
            return None
        places: list[torch.Tensor] = []
        back = torch.zeros_like(ids, device="cpu")
        parts: list[Part] = []
        of_images: list[int] = []
        count = 0
        for name, rows in groups.items():
            common, begin = shared.get(name, 0), count
            for number, row in enumerate(rows):
                if not number and common:
                    places.append(row * total + firsts[row] + torch.arange(common))
                    parts.append(Part(count, count + common))
                    count += common
                if not number or not common:
                    of_images.append(row)
                own = torch.arange(firsts[row] + common, total)
                places.append(row * total + own)
                parts.append(Part(count, count + len(own), begin, begin + common))
                back[row, firsts[row] : firsts[row] + common] = torch.arange(begin, begin + common)
                back[row, own] = torch.arange(count, count + len(own))
                count += len(own)
        device = ids.device
        image_tokens = tuple((ids == image_token).sum(-1).tolist())
        return cls(
            torch.cat(places).to(device), back.to(device), tuple(parts), tuple(of_images), image_tokens
        )

    def inputs(self, inputs: Mapping[str, Any], positions: torch.Tensor) -> dict[str, Any]:
        """The batch's inputs as those of the row, without a mask; `position_ids` from positions [..., B, T]."""
        packed: dict[str, Any] = {"position_ids": positions.flatten(-2)[..., self.places].unsqueeze(-2)}
        for name, value in inputs.items():
            if name in _TOKENS:
                packed[name] = value.flatten()[self.places][None]
            elif name == "mm_encoder_outputs":
                packed[name] = {kind: self._encoded(output) for kind, output in value.items()}
            elif isinstance(value, torch.Tensor) and name not in ("attention_mask", "position_ids"):
                packed[name] = self._images(value)
        return packed

    @property
    def last(self) -> torch.Tensor:
        """The last token of every prompt, int64 [B]."""
        return self.back[:, -1]

    def attend(self, inputs: AttentionInputs) -> torch.Tensor:
        """Causal attention of every prompt, [1, N, Hq, D]."""
        _, heads, count, dim = inputs.query.shape
        out = inputs.query.new_empty(1, count, heads, dim)
        for part in self.parts:
            own, before = slice(part.start, part.stop), slice(part.begin, part.end)
            shared, new = part.end - part.begin, part.stop - part.start
            key, value, mask = inputs.key[:, :, own], inputs.value[:, :, own], None
            if shared:
                key = torch.cat([inputs.key[:, :, before], key], 2)
                value = torch.cat([inputs.value[:, :, before], value], 2)
                mask = torch.ones(new, shared + new, dtype=torch.bool, device=key.device).tril(shared)
                mask = mask[None, None]
            alone = inputs._replace(query=inputs.query[:, :, own], key=key, value=value, mask=mask)
            out[:, own] = alone.causal_attention()
        return out

    def unpack(self, states: torch.Tensor) -> torch.Tensor:
        """Of [1, H, N, D] the batch [B, H, T, D]; pads hold what some token holds."""
        return states[0].transpose(0, 1)[self.back].transpose(1, 2)

    def _images(self, value: torch.Tensor) -> torch.Tensor:
        """The row's images of a tensor of all: an entry a prompt, or as many for each as it has image tokens."""
        rows = list(self.rows)
        if len(value) == len(self.image_tokens):
            return value[rows]
        entries = len(value) / sum(self.image_tokens)
        split = torch.split(value, [round(entries * tokens) for tokens in self.image_tokens])
        return torch.cat([split[row] for row in rows])

    def _encoded(self, output: Any) -> Any:
        """Likewise of encoded images, one tensor an image in a list."""
        return type(output)(pooler_output=[output.pooler_output[row] for row in self.rows])


def _common(ids: torch.Tensor, rows: Sequence[int], firsts: Sequence[int], image_token: int) -> int:
    """Tokens that prompts begin with alike and share; 0 unless all their images are among them."""
    prompts = [ids[row, firsts[row] :] for row in rows]
    shortest = min(len(prompt) for prompt in prompts)
    alike = torch.stack([prompt[:shortest] == prompts[0][:shortest] for prompt in prompts]).all(0)
    common = min(int(alike.long().cumprod(0).sum()), shortest - 1)
    return 0 if any(bool((prompt[common:] == image_token).any()) for prompt in prompts) else common
