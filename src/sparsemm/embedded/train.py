"""The training recipe of the embedded model: eight resumable stages.

a  text model: copy and look up lines of plain text
b  text model: the same documents as grids of characters, in the layout of image tokens
c  vision tower: classify the glyph of every patch
d  projector: from the tower into the text model's embedding space
e  all parameters, on document images; e2 asks for single lines more often

A stage with a number continues the one before it with a new schedule. The shipped weights are the mean of those after
e2 and after e3.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from transformers import AttentionInterface

from sparsemm.documents.words import ALPHABET
from sparsemm.embedded import samples
from sparsemm.embedded.model import build_model, export
from sparsemm.embedded.stages import Schedule, run_schedule


@dataclass(frozen=True)
class Stage:
    """One training stage.

    Attributes:
        name: see the module; also in the names of its checkpoints.
        steps: of the optimiser.
        batch: documents per step.
        rate: peak learning rate.
        reading: share of conversations that read the whole page; the others ask for single lines.
    """

    name: str
    steps: int
    batch: int
    rate: float
    reading: float = 0.6


STAGES = (
    Stage("a", 400, 48, 2e-3),
    Stage("b", 400, 12, 1.5e-3),
    Stage("c", 1200, 32, 1.5e-3),
    Stage("c2", 1800, 24, 2e-3),
    Stage("d", 200, 32, 2e-3),
    Stage("e", 1100, 12, 1e-3),
    Stage("e2", 950, 12, 1e-3, reading=0.25),  # after e, a quarter of the answers came from a wrong line
    Stage("e3", 260, 12, 7e-4, reading=0.35),
)
# The mean of the weights after these stages is better than either (synth-docvqa 0.92 against 0.89 and 0.88).
AVERAGED = ("e2", "e3")
BLANK_WEIGHT = 0.05  # loss weight of blank patches, which are the majority
SAVE_EVERY = 100  # steps


def _attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """Causal attention in float32, whose backward pass is faster on a CPU than torch's bf16 flash attention."""
    out = F.scaled_dot_product_attention(
        query.float(), key.float(), value.float(), is_causal=True, scale=kwargs["scaling"]
    )
    return out.transpose(1, 2).to(value.dtype).contiguous(), None


class Trainee(nn.Module):
    """The model, and the glyph classifier that stage c trains the vision tower with (it is not shipped)."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.whole: Any  # a LlavaNextForConditionalGeneration, whose type hints are too loose
        self.whole, self.processor = build_model(seed)
        AttentionInterface.register("embedded_training", _attention)
        self.whole.set_attn_implementation({"text_config": "embedded_training"})
        self.glyphs = nn.Linear(int(self.whole.config.vision_config.hidden_size), 1 + len(ALPHABET))

    def forward(self, compute: Callable[[], Any]) -> Any:
        """Run one of the losses. As the module's forward, `functional_call` can run it with other weights."""
        return compute()

    def text_loss(self, batch: samples.Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and accuracy over the answer tokens of a batch, with or without images."""
        whole = self.whole
        embeds = whole.get_input_embeddings()(batch.ids)  # [B, S, hidden]
        if batch.pixels is not None:
            features = self.image_tokens(batch)
            where = batch.ids == whole.config.image_token_id
            embeds = embeds.masked_scatter(where[..., None], features.to(embeds.dtype))
        hidden = whole.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        wanted = batch.targets[:, 1:]
        mask = wanted != -100
        logits = whole.lm_head(hidden[:, :-1][mask]).float()
        hits = (logits.argmax(-1) == wanted[mask]).float().mean()
        return F.cross_entropy(logits, wanted[mask]), hits

    def image_tokens(self, batch: samples.Batch) -> torch.Tensor:
        """The batch's image tokens as the model packs them, [N, hidden]."""
        assert batch.pixels is not None
        count = len(batch.sizes)
        pixels = batch.pixels.view(count, -1, *batch.pixels.shape[1:])
        output = self.whole.model.get_image_features(
            pixels,
            batch.sizes,
            vision_feature_layer=self.whole.config.vision_feature_layer,
            vision_feature_select_strategy="default",
        )
        packed = getattr(output, "pooler_output", output)
        return torch.cat(list(packed))

    def patches(self, pixels: torch.Tensor) -> torch.Tensor:
        """Output of the vision tower per patch, [N, 64, width]."""
        out: torch.Tensor = self.whole.model.vision_tower(pixels).last_hidden_state
        return out[:, 1:]


def _tile_batch(seed: str, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    documents = samples.draw_documents(seed, size)
    pixels = torch.cat([samples.tiles(d) for d in documents])
    return pixels, torch.cat([samples.tile_classes(d) for d in documents])


def _vision_loss(trainee: Trainee, seed: str, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    pixels, classes = _tile_batch(seed, size)
    logits = trainee.glyphs(trainee.patches(pixels)).float()
    weight = torch.ones(logits.shape[-1])
    weight[samples.BLANK] = BLANK_WEIGHT
    loss = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), weight=weight)
    seen = classes != samples.BLANK
    return loss, (logits.argmax(-1) == classes)[seen].float().mean()


def _projector_loss(trainee: Trainee, seed: str, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and accuracy of projected patches against the text embedding of their glyph (a space for blanks)."""
    pixels, classes = _tile_batch(seed, size)
    with torch.no_grad():
        seen = trainee.patches(pixels)
    tokenizer = trainee.processor.tokenizer
    symbols = torch.tensor(tokenizer.convert_tokens_to_ids([" ", *ALPHABET]))
    table = trainee.whole.get_input_embeddings().weight[symbols].detach().float()  # [37, hidden]
    out = trainee.whole.model.multi_modal_projector(seen).float()
    weight = torch.where(classes == samples.BLANK, BLANK_WEIGHT * 4, 1.0)
    squared = (out - table[classes]).square().mean(-1) / table.square().mean()
    nearest = torch.cdist(out.flatten(0, 1).detach(), table).argmin(-1)
    glyph = classes.flatten() != samples.BLANK
    return (squared * weight).sum() / weight.sum(), (nearest == classes.flatten())[glyph].float().mean()


def _losses(trainee: Trainee, stage: Stage, seed: int, first: int) -> Iterator[Any]:
    """Yield, for every step from `first`, a callable that returns (loss, accuracy)."""
    pages: dict[str, Callable[[Any], str]] = {
        "a": samples.plain_page,
        "b": samples.grid_text,
        "e": samples.image_page,
    }
    label = f"{seed}-{stage.name}"
    if stage.name[0] in pages:
        stream = samples.batches(
            trainee.processor.tokenizer,
            pages[stage.name[0]],
            seed=label,
            size=stage.batch,
            reading=stage.reading,
            numbers=range(first, stage.steps),
        )
        for batch in stream:
            yield lambda batch=batch: trainee.text_loss(batch)
        return
    loss = _vision_loss if stage.name[0] == "c" else _projector_loss
    for number in range(first, stage.steps):
        yield lambda number=number: loss(trainee, f"{label}-{number}", stage.batch)


def _parameters(trainee: Trainee, name: str) -> list[nn.Parameter]:
    whole = trainee.whole
    parts: dict[str, list[Any]] = {
        "a": [whole.model.language_model, whole.lm_head],
        "b": [whole.model.language_model, whole.lm_head],
        "c": [whole.model.vision_tower, trainee.glyphs],
        "d": [whole.model.multi_modal_projector],
        "e": [whole],
    }
    return [parameter for part in parts[name[0]] for parameter in part.parameters()]


def run_stage(trainee: Trainee, stage: Stage, work: Path, seed: int, report: Callable[[str], None]) -> None:
    """Train one stage, or load it if it is done; resumes from its last checkpoint.

    Args:
        trainee: trained in place.
        stage: what to train.
        work: folder of checkpoints and of curve.csv.
        seed: of the data.
        report: called with lines of progress.
    """
    fast = torch.cpu._is_amx_tile_supported()  # bf16 without AMX is far slower than float32

    def step(compute: Any) -> Any:
        if not fast:
            return compute()
        # float32 master weights, bf16 compute
        weights = {name: weight.to(torch.bfloat16) for name, weight in trainee.named_parameters()}
        return functional_call(trainee, weights, (compute,))

    def losses(first: int) -> Iterator[Any]:
        for compute in _losses(trainee, stage, seed, first):
            yield functools.partial(step, compute)

    schedule = Schedule(stage.name, stage.steps, save_every=SAVE_EVERY)
    parameters = _parameters(trainee, stage.name)
    run_schedule(trainee, schedule, [(parameters, stage.rate)], losses, work, report)


def copy_newline(trainee: Trainee) -> None:
    """Before stage e: set the image's newline embedding to the text newline's, which ended rows in stage b."""
    tokenizer = trainee.processor.tokenizer
    newline = trainee.whole.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids("\n")]
    trainee.whole.model.image_newline.data.copy_(newline.detach())


def train(
    out: str | Path,
    work: str | Path,
    *,
    seed: int = 0,
    stages: tuple[Stage, ...] = STAGES,
    report: Callable[[str], None] = print,
) -> None:
    """Train the model and write its checkpoint.

    Args:
        out: folder of the checkpoint.
        work: folder of intermediate checkpoints; training resumes from them.
        seed: of weights and data.
        stages: to train, in order.
        report: called with lines of progress.
    """
    folder = Path(work)
    folder.mkdir(parents=True, exist_ok=True)
    trainee = Trainee(seed)
    for stage in stages:
        if stage.name == "e" and not (folder / "stage-e.part.pt").exists():
            copy_newline(trainee)
        run_stage(trainee, stage, folder, seed, report)
    ends = [folder / f"stage-{stage.name}.pt" for stage in stages if stage.name in AVERAGED]
    if ends:
        states = [torch.load(end) for end in ends]
        trainee.load_state_dict({name: sum(s[name] for s in states) / len(states) for name in states[0]})
    export(trainee.whole, trainee.processor, out)
