"""The two models in training: what differs between them in how a page becomes tokens and positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface

from sparsemm.documents.rich.document import RICH_PATCH, RICH_TILE, RichDocument
from sparsemm.embedded.smol import lora
from sparsemm.embedded.smol.architecture import IMAGE, LLAVA, MERGE, TOWERS, Tower, build
from sparsemm.embedded.smol.base import Base
from sparsemm.embedded.smol.pages import cut, cut_shares, pixels, small
from sparsemm.embedded.smol.patches import CLASSES, HALVES, SYMBOLS, shares

SIDE = RICH_TILE // RICH_PATCH
SECOND = 0.6  # weight of what stands in a patch's right half
_RIDGE = 1e-3  # of the mean power of an embedding
_JOINT = "_"  # what a patch inside a word without a character reads as


def _attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """Causal attention without a mask: padding is on the right."""
    out = F.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=kwargs["scaling"], enable_gqa=True
    )
    return out.transpose(1, 2).contiguous(), None


@dataclass(frozen=True)
class Layout:
    """A page among the tokens of a prompt.

    Attributes:
        ids: of the tokens, image placeholders among them.
        rows, columns: of the grid.
    """

    ids: list[int]
    rows: int
    columns: int


class Reader(nn.Module):
    """A model with LoRA in its text model and, beside it, the glyph classifier that its tower is trained with.

    Args:
        name: one of NAMES.
        base: the language model.
        tower: size of the vision tower.
        seed: of the random weights.
    """

    def __init__(self, name: str, base: Base, *, tower: Tower | None = None, seed: int = 0) -> None:
        super().__init__()
        self.name, self.tower_size = name, tower or TOWERS[name]
        self.tiled = name == LLAVA
        self.whole: Any
        self.whole, self.processor = build(name, base, tower=self.tower_size, seed=seed)
        lora.insert(self.text, seed)
        AttentionInterface.register("smol_training", _attention)
        self.whole.set_attn_implementation({"text_config": "smol_training"})
        width = self.whole.model.multi_modal_projector.linear_1.out_features if self.tiled else 0
        width = width or self.whole.model.visual.merger.hidden_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.glyphs = nn.Linear(width, HALVES * CLASSES)
        token = {char: self.ids(char)[0] for char in [*map(chr, range(32, 127)), "\n"]}
        self.spelt = token
        embed = self.whole.get_input_embeddings().weight.detach()
        # [CLASSES, hidden]; no character reads as a space
        self.table: torch.Tensor = embed[[token.get(symbol, token[_JOINT]) for symbol in " " + SYMBOLS]]
        # [hidden, CLASSES - 1]; class 0 reads as the character " "
        self.dual: torch.Tensor = dual_of(self.table[1:])
        self.image_id = int(self.whole.config.image_token_id)

    @property
    def text(self) -> Any:
        """The text model."""
        return self.whole.model.language_model

    @property
    def seeing(self) -> list[nn.Parameter]:
        """The parameters of tower, projector and newline."""
        inner = self.whole.model
        parts = [inner.vision_tower, inner.multi_modal_projector] if self.tiled else [inner.visual]
        found = [parameter for part in parts for parameter in part.parameters()]
        return [*found, inner.image_newline] if self.tiled else found

    @property
    def last(self) -> nn.Linear:
        """The projector's last layer."""
        inner = self.whole.model
        layer = inner.multi_modal_projector.linear_2 if self.tiled else inner.visual.merger.mlp[2]
        assert isinstance(layer, nn.Linear)
        return layer

    @property
    def adapters(self) -> list[nn.Parameter]:
        """The parameters of LoRA."""
        return [parameter for parameter in self.text.parameters() if parameter.requires_grad]

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """What is trained; the base model is not part of a checkpoint."""
        return {key: value for key, value in super().state_dict().items() if not _frozen(key)}

    def load_state_dict(self, state: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Take over what is trained."""
        missing, unexpected = super().load_state_dict(state, strict=False)
        assert not unexpected, unexpected
        assert all(_frozen(key) for key in missing), missing

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, special tokens by name."""
        found: list[int] = self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def spell(self, text: str) -> list[int]:
        """Token ids of a text spelt in single characters."""
        return [self.spelt[char] for char in text]

    # What tower and projector make of tiles: [N, patches, width] and [N, patches, hidden].
    def see(self, tiles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of every patch of tiles before and after the last layer of the projector."""
        if self.tiled:
            projector = self.whole.model.multi_modal_projector
            seen = self.whole.model.vision_tower(tiles).last_hidden_state[:, 1:]
            before = projector.act(projector.linear_1(seen))
            return before, projector.linear_2(before)
        side = RICH_TILE // RICH_PATCH
        before, after = self._merged(
            torch.cat([_patchify(tile) for tile in tiles]), [(side, side)] * len(tiles)
        )
        return before.view(len(tiles), side * side, -1), after.view(len(tiles), side * side, -1)

    def _merged(
        self, patches: torch.Tensor, grids: Sequence[tuple[int, int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Qwen2-VL's tower on whole images, given their rows and columns of image tokens."""
        visual = self.whole.model.visual
        sizes = torch.tensor([[1, rows * MERGE, columns * MERGE] for rows, columns in grids])
        hidden = visual(patches, grid_thw=sizes).last_hidden_state
        merger = visual.merger
        before = merger.mlp[1](merger.mlp[0](merger.ln_q(hidden).view(-1, merger.hidden_size)))
        return before, merger.mlp[2](before)

    def image_tokens(self, pages: Sequence[RichDocument]) -> tuple[torch.Tensor, torch.Tensor]:
        """The image tokens of pages one after the other, as the model packs them, and what the glyph classifier sees.

        Returns:
            [tokens, hidden], and features before the projector's last layer, [patches, width].
        """
        if not self.tiled:
            patches = torch.cat([_patchify(pixels(page.image)) for page in pages])
            before, after = self._merged(patches, [_grid(page) for page in pages])
            return after, before
        tiles = [torch.cat([small(page), cut(pixels(page.image))]) for page in pages]
        before, features = self.see(torch.cat(tiles))
        packed = []
        for page, part in zip(pages, torch.split(features, [len(each) for each in tiles])):
            packed += [part[0], self._packed(page, part[1:])]
        return torch.cat(packed), before.flatten(0, 1)

    def patch_shares(self, pages: Sequence[RichDocument]) -> torch.Tensor:
        """What the patches of `image_tokens` say, [patches, HALVES, CLASSES]; small images are blank."""
        if not self.tiled:
            return torch.cat([torch.from_numpy(shares(page)).flatten(0, 1) for page in pages])
        blank = blank_shares(1)[0]
        return torch.cat([part for page in pages for part in (blank, cut_shares(shares(page)).flatten(0, 1))])

    def _packed(self, page: RichDocument, tiles: torch.Tensor) -> torch.Tensor:
        """The high-resolution grid with a newline after each row, [rows * (columns + 1), hidden]."""
        rows, columns = _grid(page)
        grid = tiles.view(rows // SIDE, columns // SIDE, SIDE, SIDE, -1).transpose(1, 2)
        return self._with_newlines(grid.reshape(rows, columns, -1))

    def _with_newlines(self, grid: torch.Tensor) -> torch.Tensor:
        newline = self.whole.model.image_newline.expand(grid.shape[0], 1, -1)
        return torch.cat([grid, newline], dim=1).flatten(0, 1)

    def meanings(self, said: torch.Tensor) -> torch.Tensor:
        """What a patch should read as, [..., hidden] from shares [..., HALVES, CLASSES].

        That is its characters' embeddings, those of the right half with less weight, and as much of the embedding of a
        space, or inside a word of "_", as the characters leave.
        """
        characters = said[..., 1:-1]
        weights = characters[..., 0, :] + SECOND * characters[..., 1, :]
        rest = (1 - characters.sum((-1, -2))).clamp(min=0)
        joint = rest * (said[..., -1].sum(-1) > said[..., 0].sum(-1))
        ends = torch.stack([rest - joint, joint], dim=-1)
        return weights @ self.table[1:-1] + ends @ self.table[[0, -1]]

    def text_tokens(self, pages: Sequence[RichDocument]) -> torch.Tensor:
        """Image tokens without images: what each patch of the grid should read as; there is no small image."""
        grids = [self.meanings(torch.from_numpy(shares(page))) for page in pages]
        return torch.cat([self._with_newlines(grid) if self.tiled else grid.flatten(0, 1) for grid in grids])

    def layout(self, page: RichDocument, *, whole: bool = True) -> Layout:
        """The beginning of a conversation about a page, with the small image of the whole or without."""
        rows, columns = _grid(page)
        base = SIDE * SIDE if self.tiled and whole else 0
        tokens = base + rows * (columns + 1) if self.tiled else rows * columns
        before, _, after = IMAGE[self.name]
        ids = [*self.ids("<|im_start|>user\n" + before), *[self.image_id] * tokens, *self.ids(after)]
        return Layout(ids, rows, columns)

    def positions(self, layouts: Sequence[Layout], length: int) -> torch.Tensor | None:
        """Positions of a batch: None for one after the other, else time, height and width, [3, B, length]."""
        if self.tiled:
            return None
        made = []
        for layout in layouts:
            start = layout.ids.index(self.image_id)
            head = torch.arange(start).expand(3, -1)
            row, column = torch.meshgrid(
                torch.arange(layout.rows), torch.arange(layout.columns), indexing="ij"
            )
            grid = start + torch.stack([torch.zeros_like(row), row, column]).flatten(1)
            rest = torch.arange(length - start - grid.shape[1]).expand(3, -1)
            made.append(torch.cat([head, grid, rest + start + max(layout.rows, layout.columns)], dim=1))
        return torch.stack(made, dim=1)

    def answer_loss(
        self, ids: torch.Tensor, targets: torch.Tensor, tokens: torch.Tensor, positions: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and accuracy over the answers, given all image tokens of the batch."""
        embeds = self.whole.get_input_embeddings()(ids)
        embeds = embeds.masked_scatter((ids == self.image_id)[..., None], tokens)
        extra = {} if positions is None else {"position_ids": positions}
        hidden = self.text(inputs_embeds=embeds, use_cache=False, **extra).last_hidden_state
        wanted = targets[:, 1:]
        mask = wanted != -100
        logits = self.whole.lm_head(hidden[:, :-1][mask])
        right = (logits.argmax(-1) == wanted[mask]).float().mean()
        return F.cross_entropy(logits, wanted[mask]), right


def dual_of(rows: torch.Tensor) -> torch.Tensor:
    """How much of every row is in a vector: [hidden, R] from [R, hidden], so that rows @ dual is nearly the identity.

    Embeddings have large parts in common, beside which their differences, which tell characters apart, are small.
    """
    ridge = _RIDGE * rows.square().sum(1).mean() * torch.eye(len(rows))
    solved: torch.Tensor = torch.linalg.solve(rows @ rows.T + ridge, rows)
    return solved.T


def blank_shares(tiles: int) -> torch.Tensor:
    """Shares of tiles without a character, [tiles, patches, HALVES, CLASSES]."""
    blank = torch.zeros(tiles, SIDE * SIDE, HALVES, CLASSES)
    blank[..., 0] = 1
    return blank


def _grid(page: RichDocument) -> tuple[int, int]:
    """Rows and columns of patches."""
    return page.image.height // RICH_PATCH, page.image.width // RICH_PATCH


def _frozen(key: str) -> bool:
    """Whether a weight is the base model's."""
    inside = "language_model." in key or "lm_head." in key
    return inside and not key.endswith((".down", ".up"))


def _patchify(image: torch.Tensor) -> torch.Tensor:
    """[patches, 3 * 2 * side * side] from [3, height, width]: as Qwen2-VL's processor orders them."""
    side = RICH_PATCH // MERGE
    _, height, width = image.shape
    parts = image.reshape(3, height // RICH_PATCH, MERGE, side, width // RICH_PATCH, MERGE, side)
    parts = parts.permute(
        1, 4, 2, 5, 0, 3, 6
    )  # rows, columns, merged rows and columns, colour, height, width
    parts = parts[..., None, :, :].expand(*parts.shape[:5], 2, side, side)  # two frames of a still image
    return parts.reshape(-1, 3 * 2 * side * side)
