"""The training recipe: four resumable stages.

text       LoRA: questions and answers about pages whose patches are given as the embeddings of their characters
tower      vision tower: classify the characters of every patch, with a linear classifier that is not shipped
projector  tower and projector: onto those embeddings; the last layer first in closed form
joint      all of it: questions and answers about images
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from sparsemm.documents.rich.dense import generate_dense
from sparsemm.documents.rich.document import RichDocument
from sparsemm.embedded.smol.assemble import ADAPTER, save_adapter
from sparsemm.embedded.smol.base import Base, load_base
from sparsemm.embedded.smol.pages import cut, cut_shares, draw, draw_alike, pixels, small, turns
from sparsemm.embedded.smol.patches import CLASSES, shares
from sparsemm.embedded.smol.projection import fit_last_layer
from sparsemm.embedded.smol.reader import Reader, blank_shares
from sparsemm.embedded.smol.start import take_tower
from sparsemm.embedded.stages import Compute, Schedule, run_schedule

TEXTS = 8  # patches with characters, from which on a tile has much text
FITTED = 60  # pages that the projector's last layer is fitted on
SPARSE = 0.25  # share of the tiles with less that dense supervision uses


@dataclass(frozen=True)
class Stage:
    """One training stage.

    Attributes:
        kind: text, tower, projector or joint.
        steps: of the optimiser.
        batch: pages in a step.
        rate: peak learning rate of what the stage is about.
        seeing: peak learning rate of tower and projector in a joint stage.
        questions: about a page at most.
        dense: weight of the glyphs' loss in a projector or joint stage; the tower's outputs are there anyway.
        full: share of the pages that are full of random words, in stages trained on tiles: the others are blank in nine
            patches of ten, and a tower sees few characters of them.
        blank: loss weight of patches without a character, nine tenths of all. With a small one a tower soon names
            characters, and sees each in two patches where it is not sure which is the nearer one.
    """

    kind: str
    steps: int
    batch: int
    rate: float
    seeing: float = 5e-4
    questions: int = 6
    dense: float = 0.0
    full: float = 0.0
    blank: float = 0.1


@dataclass(frozen=True)
class Recipe:
    """All stages, in their order; `warm` and `save_every` are steps."""

    stages: tuple[Stage, ...]
    warm: int = 30
    save_every: int = 50


RECIPE = Recipe(
    (
        Stage("tower", 3300, 8, 1.5e-3, blank=0.3, full=0.6),
        Stage("projector", 2400, 8, 1e-3, blank=0.2, full=0.6, dense=1.0),
        Stage("text", 56, 4, 1e-3),
        Stage("joint", 300, 4, 7e-4, questions=8, dense=0.5),
    )
)


def _conversations(
    reader: Reader, pages: Sequence[RichDocument], rng: random.Random, questions: int, *, whole: bool = True
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """ids and targets [B, S] (-100 outside the answers) and positions of conversations about pages."""
    layouts = [reader.layout(page, whole=whole) for page in pages]
    rows = []
    for page, layout in zip(pages, layouts):
        ids = list(layout.ids)
        targets = [-100] * len(ids)
        for number, (prompt, answer) in enumerate(turns(page, rng, questions)):
            opening = "<|im_start|>user\n" if number else "\n"
            asked = reader.ids(f"{opening}{prompt}<|im_end|>\n<|im_start|>assistant\n")
            said = [*reader.spell(answer), *reader.ids("<|im_end|>")]
            ids += [*asked, *said, *reader.spell("\n")]
            targets += [-100] * len(asked) + said + [-100]
        rows.append((ids, targets))
    longest = max(len(ids) for ids, _ in rows)
    ids_of, targets_of = (
        torch.zeros(len(rows), longest, dtype=torch.int64),
        torch.full((len(rows), longest), -100),
    )
    for number, (ids, targets) in enumerate(rows):
        ids_of[number, : len(ids)] = torch.tensor(ids)
        targets_of[number, : len(ids)] = torch.tensor(targets)
    return ids_of, targets_of, reader.positions(layouts, longest)


def _answers(reader: Reader, stage: Stage, seed: str) -> tuple[torch.Tensor, torch.Tensor]:
    pages = draw_alike(seed, stage.batch)
    as_text = stage.kind == "text"
    rng = random.Random(f"{seed}-turns")
    ids, targets, positions = _conversations(reader, pages, rng, stage.questions, whole=not as_text)
    if as_text:
        return reader.answer_loss(ids, targets, reader.text_tokens(pages), positions)
    tokens, features = reader.image_tokens(pages)
    loss, right = reader.answer_loss(ids, targets, tokens, positions)
    if stage.dense:
        loss = loss + stage.dense * _class_loss(reader, stage, features, reader.patch_shares(pages))[0]
    return loss, right


def tiles(
    reader: Reader,
    seed: str,
    count: int,
    *,
    fonts: str = "train",
    split: str = "train",
    sparse: float = 1.0,
    full: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tiles of `count` pages, [N, 3, RICH_TILE, RICH_TILE], and what their patches say, [N, patches, HALVES, CLASSES].

    Where a model sees small images of whole pages, they are among the tiles and read as blank.

    Args:
        reader: the model.
        seed: of the pages.
        count: of the pages.
        fonts: group of faces.
        split: of the words.
        sparse: the share that is kept of small images and of tiles with little text.
        full: the share of pages that are full of random words; their small images are not among the tiles.
    """
    rng = random.Random(seed)
    images, wanted = [], []
    for _ in range(count):
        crowded = full > 0 and rng.random() < full
        page = (generate_dense if crowded else draw)(rng, fonts=fonts, split=split)
        images.append(cut(pixels(page.image)))
        wanted.append(cut_shares(shares(page)))
        if reader.tiled and not crowded:
            images.append(small(page))
            wanted.append(blank_shares(1))
    image, said = torch.cat(images), torch.cat(wanted)
    texts = _with_character(said).sum(1).tolist()
    kept = [number for number, text in enumerate(texts) if text >= TEXTS or rng.random() < sparse]
    return image[kept], said[kept]


def _with_character(said: torch.Tensor) -> torch.Tensor:
    """Which patches have a character, or are inside a word: bool [...], from shares [..., HALVES, CLASSES]."""
    return (said[..., 0] < 0.5).any(-1)


def _glyph_loss(reader: Reader, stage: Stage, seed: str) -> tuple[torch.Tensor, torch.Tensor]:
    images, said = tiles(reader, seed, stage.batch, sparse=SPARSE, full=stage.full)
    return _class_loss(reader, stage, reader.see(images)[0], said)


def _class_loss(
    reader: Reader, stage: Stage, features: torch.Tensor, said: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and accuracy of the glyph classifier on features [..., width], shares [..., HALVES, CLASSES]."""
    logits = reader.glyphs(features).unflatten(-1, (-1, CLASSES))  # [..., HALVES, CLASSES]
    weight = said[..., 0] * stage.blank + (1 - said[..., 0])
    loss = F.cross_entropy(logits.flatten(0, -2), said.flatten(0, -2), reduction="none")
    return (loss * weight.flatten()).sum() / weight.sum(), glyph_accuracy(logits, said)


def glyph_accuracy(logits: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
    """Of the halves that a character is wholly or nearly in, the share in which it is the likeliest class."""
    sure = said[..., 1:-1].amax(-1) > 0.8
    return (logits.argmax(-1) == said.argmax(-1))[sure].float().mean()


def _projector_loss(reader: Reader, stage: Stage, seed: str) -> tuple[torch.Tensor, torch.Tensor]:
    images, said = tiles(reader, seed, stage.batch, sparse=SPARSE, full=stage.full)
    features, out = reader.see(images)
    wanted, weight = _meanings(reader, stage, said)
    apart = out - wanted
    loss = apart.square().mean(-1) / reader.table.square().mean() + (apart @ reader.dual).square().sum(-1)
    loss = (loss * weight).sum() / weight.sum()
    if stage.dense:
        loss = loss + stage.dense * _class_loss(reader, stage, features, said)[0]
    with torch.no_grad():
        characters = said[..., 1:-1]
        alone = characters[..., 0, :].amax(-1) > 0.8  # the patch reads as this character, more or less
        nearest = torch.cdist(out[alone], reader.table[1:-1]).argmin(-1)
        right = (nearest == characters[..., 0, :][alone].argmax(-1)).float().mean()
    return loss, right


def _meanings(reader: Reader, stage: Stage, said: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What patches should read as, [..., hidden], and their weights, [...]."""
    return reader.meanings(said), torch.where(_with_character(said), 1.0, stage.blank)


def _fit(reader: Reader, stage: Stage, seed: str) -> None:
    """Begin a projector stage with a last layer that fits the tower."""
    images, said = tiles(reader, seed, FITTED, sparse=SPARSE, full=stage.full)
    fit_last_layer(reader, images, *_meanings(reader, stage, said))


def _losses(reader: Reader, stage: Stage, label: str, first: int) -> Iterator[Compute]:
    losses = {"tower": _glyph_loss, "projector": _projector_loss}
    if stage.kind == "projector" and not first:
        _fit(reader, stage, f"{label}-fit")
    for number in range(first, stage.steps):
        yield partial(losses.get(stage.kind, _answers), reader, stage, f"{label}-{number}")


def _groups(reader: Reader, stage: Stage) -> list[tuple[Sequence[nn.Parameter], float]]:
    if stage.kind == "text":
        return [(reader.adapters, stage.rate)]
    if stage.kind == "joint":
        return [(reader.adapters, stage.rate), (reader.seeing, stage.seeing)]
    return [([*reader.seeing, *reader.glyphs.parameters()], stage.rate)]


def train(
    name: str,
    out: str | Path,
    work: str | Path,
    *,
    seed: int = 0,
    start: str | Path | None = None,
    recipe: Recipe = RECIPE,
    base: Base | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Train an adapter.

    Args:
        name: one of NAMES.
        out: folder of the adapter.
        work: folder of intermediate checkpoints and curve.csv; training resumes from them.
        seed: of weights and data.
        start: folder of a LLaVA-NeXT checkpoint whose vision tower the training starts from; None: random weights.
        recipe: what to train.
        base: the language model; None: the installed package's.
        report: called with lines of progress.
    """
    folder = Path(work)
    folder.mkdir(parents=True, exist_ok=True)
    reader = Reader(name, base or load_base(), seed=seed)
    if start is not None:
        take_tower(reader.whole.model.vision_tower, start)
    for number, stage in enumerate(recipe.stages):
        label = f"{number}-{stage.kind}"
        schedule = Schedule(label, stage.steps, recipe.warm, 0.0, recipe.save_every)
        run_schedule(
            reader,
            schedule,
            _groups(reader, stage),
            partial(_losses, reader, stage, f"{seed}-{label}"),
            folder,
            report,
        )
    save_adapter(reader.whole, name, reader.tower_size, Path(out) / ADAPTER)
