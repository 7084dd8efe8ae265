"""Visual scores of attention heads, from generation over probe images (paper, section 3.2, Algorithm 1).

The model is asked to read a probe image. Each generated token that stands for a ground-truth word is
matched to that word's box, the box to the image tokens I that cover it (none: the token counts as matched
and nobody earns); every query head whose attention row behind the token peaks inside I earns 1 / |I|. A
head's score is its share of all that was earned. (The released code means over images what the paper means
over tokens; normalised, sums are both.)
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers.modeling_utils import PreTrainedModel

from sparsemm.documents.pages import READ_PROMPT
from sparsemm.errors import InputError
from sparsemm.families import make_layout
from sparsemm.families.layout import CONVENTIONS
from sparsemm.heads.matching import check_matching, match_tokens
from sparsemm.heads.probe import ProbeImage, check_probe, png_bytes
from sparsemm.heads.recording import ArgmaxRecorder, generate_greedily, recording
from sparsemm.heads.score_files import HeadSamples, samples_frame, samples_from_frame
from sparsemm.heads.scores import HeadScores
from sparsemm.models.loading import build_inputs, shape
from sparsemm.results.parquet import read_metadata, read_table, write_table
from sparsemm.results.provenance import model_name


@dataclass(frozen=True)
class ScoringSettings:
    """How a model is asked and what counts; defaults and meanings are those of `score_heads`."""

    prompt: str
    max_new_tokens: int
    batch_size: int
    convention: str
    matching: str

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"scoring.{name}: {getattr(self, name)} is below 1; give at least 1")
        if self.convention not in CONVENTIONS:
            known = " or ".join(CONVENTIONS)
            raise InputError(f"scoring.convention: {self.convention!r} is unknown; use {known}")
        check_matching(self.matching)


def score_heads(
    model: PreTrainedModel,
    processor: Any,
    probe: Sequence[ProbeImage],
    *,
    prompt: str = READ_PROMPT,
    max_new_tokens: int = 1024,
    batch_size: int = 8,
    convention: str = "released",
    matching: str = "released",
    workdir: str | Path | None = None,
    progress: bool = True,
    seed: int = 0,
    metadata: dict[str, Any] | None = None,
) -> HeadScores:
    """Visual scores of every query head of ``model`` on ``probe``, with bootstrap intervals over the images.

    Args:
        convention: which image tokens can be hit: ``released`` (high-res only) or ``all``.
        matching: the rule that matches tokens to words, ``released`` or ``exact`` (see `sparsemm.matching`).
        workdir: finished batches are kept there and found again by the next call with the same model,
            probe and settings; others in it are replaced. None: nothing is kept.
        progress: show a bar on stderr.
        seed: of the bootstrap; generation is greedy.
        metadata: recorded with the scores, over what is recorded anyway: prompt, max_new_tokens, convention,
            matching, probe_images, probe_sha256, and where the model knows them model and model_revision.

    Raises:
        InputError: bad probe or setting; no generated token matched any word; no head ever hit.
    """
    settings = ScoringSettings(prompt, max_new_tokens, batch_size, convention, matching)
    samples = score_samples(model, processor, probe, settings, workdir=workdir, progress=progress)
    if not samples.matched.any():
        raise InputError(
            f"scoring: no generated token matches a word of the {len(probe)} probe images; "
            "check that the model reads them and that scoring.max_new_tokens is large enough"
        )
    made = _describe(model, probe, settings) | (metadata or {})
    return HeadScores.from_samples(samples, num_kv_heads=shape(model).num_kv_heads, metadata=made, seed=seed)


def _describe(
    model: PreTrainedModel, probe: Sequence[ProbeImage], settings: ScoringSettings
) -> dict[str, Any]:
    """What made the scores, without what leaves them unchanged."""
    made = asdict(settings)
    del made["batch_size"]
    made |= {"probe_images": len(probe), "probe_sha256": probe_digest(probe)}
    known = {
        "model": model_name(model.name_or_path or ""),
        "model_revision": getattr(model.config, "_commit_hash", None),
    }
    return made | {key: value for key, value in known.items() if value}


def score_samples(
    model: PreTrainedModel,
    processor: Any,
    probe: Sequence[ProbeImage],
    settings: ScoringSettings,
    *,
    workdir: str | Path | None = None,
    progress: bool = True,
) -> HeadSamples:
    """Hits, weights and matched tokens of each probe image; arguments and errors as in ``score_heads``."""
    check_probe(probe)
    if len({item.id for item in probe}) < len(probe):
        raise InputError("probe: two images have the same id; give every image its own")
    heads = (shape(model).num_layers, shape(model).num_heads)
    base = "" if workdir is None else _model_digest(model) + json.dumps(astuple(settings))
    size = settings.batch_size
    done = []
    with tqdm(total=len(probe), unit="image", desc="score", file=sys.stderr, disable=not progress) as bar:
        for start in range(0, len(probe), size):
            batch = probe[start : start + size]
            path = None if workdir is None else Path(workdir) / f"batch-{start // size:05d}.parquet"
            key = "" if path is None else probe_digest(batch, base)
            found = None if path is None else _load_batch(path, key, batch, heads)
            if found is None:
                found = _score_batch(model, processor, batch, settings)
                if path is not None:
                    write_table(path, samples_frame(found), "score_samples", {"fingerprint": key})
            done.append(found)
            bar.update(len(batch))
    names = np.array([name for part in done for name in part.image_ids], dtype=object)
    order = np.argsort(names)  # the order of the result file, so that a resampled image is the same one there
    return HeadSamples(
        tuple(names[order].tolist()),
        np.concatenate([part.hits for part in done])[order],
        np.concatenate([part.weights for part in done])[order],
        np.concatenate([part.matched for part in done])[order],
    )


def _score_batch(
    model: PreTrainedModel,
    processor: Any,
    batch: Sequence[ProbeImage],
    settings: ScoringSettings,
) -> HeadSamples:
    """One recorded generation of a left-padded batch."""
    prompts = [settings.prompt] * len(batch)
    inputs = build_inputs(processor, [p.image for p in batch], prompts, model.device)
    size = shape(model)
    recorder = ArgmaxRecorder(size.num_layers)
    with recording(model, recorder):
        answers = generate_greedily(model, processor.tokenizer, inputs, settings.max_new_tokens)
    peaks = recorder.positions()  # [B, S, L, Hq]
    hits = np.zeros((len(batch), size.num_layers, size.num_heads), dtype=np.int64)
    weights = np.zeros(hits.shape, dtype=np.float64)
    matched = np.zeros(len(batch), dtype=np.int64)
    ids = inputs["input_ids"].cpu()
    for row, (item, answer) in enumerate(zip(batch, answers, strict=True)):
        words = match_tokens(settings.matching, processor.tokenizer, answer, item.words, item.boxes)
        pairs = [(step, word) for step, word in enumerate(words) if word is not None]
        matched[row] = len(pairs)
        if pairs:
            layout = make_layout(processor, (item.image.height, item.image.width))
            at = layout.positions(ids[row], size.image_token_id)
            members, sizes = _members(layout, at, item, settings.convention, ids.shape[1] + len(answer))
            steps, which = (np.array(side) for side in zip(*pairs, strict=True))
            inside = members[which[:, None, None], peaks[row, steps]]  # [N, L, Hq]
            hits[row] = inside.sum(axis=0)
            weights[row] = (inside / np.maximum(sizes[which], 1)[:, None, None]).sum(axis=0)
    return HeadSamples(tuple(p.id for p in batch), hits, weights, matched)


def _members(
    layout: Any, positions: npt.NDArray[np.int64], item: ProbeImage, convention: str, length: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Which prompt positions cover each word, bool [words, length], and how many, |I| [words]."""
    members = np.zeros((len(item.words), length), dtype=bool)
    for index, box in enumerate(item.boxes):
        members[index, positions[layout.tokens(box, convention)]] = True
    return members, members.sum(axis=1)


def _model_digest(model: PreTrainedModel) -> str:
    """Tells models apart without reading all of a 7B: config, device, and the head of every parameter."""
    digest = hashlib.sha256(model.config.to_json_string().encode())
    digest.update(str(model.device.type).encode())
    for name, tensor in model.named_parameters():
        few = tensor.detach().flatten()[:16].float().cpu().numpy().tobytes()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode() + few)
    return digest.hexdigest()


def probe_digest(probe: Sequence[ProbeImage], base: str = "") -> str:
    """sha256 over ids, words, boxes and pixels of the images, in order; `base` goes in first."""
    digest = hashlib.sha256(base.encode())
    for item in probe:
        digest.update(json.dumps([item.id, item.words, item.boxes]).encode() + png_bytes(item.image))
    return digest.hexdigest()


def _load_batch(
    path: Path, key: str, batch: Sequence[ProbeImage], heads: tuple[int, int]
) -> HeadSamples | None:
    """The finished batch, or None where there is none, it is damaged, or it is of other inputs."""
    try:
        if not path.exists() or read_metadata(path).get("fingerprint") != key:
            return None
        found = samples_from_frame(read_table(path, "score_samples"), path)
    except InputError:
        return None
    whole = set(found.image_ids) == {p.id for p in batch} and found.hits.shape[1:] == heads
    return found if whole else None
