"""Visual scores of attention heads from generation over probe images (paper, section 3.2, Algorithm 1).

The model reads each probe image aloud. A generated token that matches a word of the page has the image tokens I that
cover that word. Every query head whose attention row for this token has its maximum inside I gets 1 / |I|. If no image
token covers the word, the token counts as matched but no head gets anything. A head's score is its share of the sum.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Unpack

import numpy as np
import torch
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers.modeling_utils import PreTrainedModel

from sparsemm.errors import InputError
from sparsemm.heads.matching import match_tokens
from sparsemm.heads.patch_map import PatchMap, check_positions, map_image, token_mask
from sparsemm.heads.probe import ProbeImage, check_probe, check_unique_ids, probe_digest
from sparsemm.heads.recording import ArgmaxRecorder, recorded_answers
from sparsemm.heads.samples import HeadSamples
from sparsemm.heads.scores import HeadScores
from sparsemm.heads.settings import ScoringKeywords, ScoringSettings
from sparsemm.models.generation_settings import in_force
from sparsemm.models.image_limits import image_limits
from sparsemm.models.loading import build_inputs, shape
from sparsemm.results.provenance import model_name
from sparsemm.results.resume import ResumableWork, Rows

_LOG = logging.getLogger(__name__)


def score_heads(
    model: PreTrainedModel,
    processor: Any,
    probe: Sequence[ProbeImage],
    *,
    patches: PatchMap | None = None,
    settings: ScoringSettings | None = None,
    **keywords: Unpack[ScoringKeywords],
) -> HeadScores:
    """Visual scores of every query head of ``model`` on ``probe``, with bootstrap intervals over the images.

    Recorded with the scores: prompt, max_new_tokens, convention, matching, positions, generation (what was in force
    of the model's generation_config), probe_images, probe_sha256, and model and model_revision where the model knows
    them. Where no token matches or no head hits and `settings.no_match` allows for it, all heads get the same score,
    and `no_match` says so.

    Args:
        patches: patch map of the probe set, as `map_patches` makes it; None maps the images while scoring, with the
            same result.
        settings: see `ScoringSettings`.
        keywords: fields of `ScoringSettings`; they override ``settings``.

    Raises:
        InputError: a bad probe set or setting; patches of another probe set, prompt, convention or processor; with
            ``no_match="error"``: no generated token matches a word, or no head hits.
    """
    chosen = replace(settings or ScoringSettings(), **keywords)
    samples = score_samples(model, processor, probe, chosen, patches=patches)
    metadata = _provenance(model, probe, chosen) | dict(chosen.metadata or {})
    kv_heads = shape(model).num_kv_heads
    if chosen.no_match == "uniform" and not samples.weights.any():
        lacking = "no head hit" if samples.matched.any() else "no token matched"
        _LOG.warning("scoring: %s on %d probe images; every head gets the same score", lacking, len(probe))
        metadata["no_match"] = f"uniform: {lacking}"
        return HeadScores.uniform(samples, num_kv_heads=kv_heads, metadata=metadata)
    if not samples.matched.any():
        raise InputError(
            f"scoring: no generated token matches a word of the {len(probe)} probe images; check that the model reads "
            "them and that scoring.max_new_tokens is large enough, or set scoring.no_match: uniform"
        )
    return HeadScores.from_samples(samples, num_kv_heads=kv_heads, metadata=metadata, seed=chosen.seed)


def _provenance(
    model: PreTrainedModel, probe: Sequence[ProbeImage], settings: ScoringSettings
) -> dict[str, Any]:
    """What the scores were made from."""
    known = {
        "model": model_name(model.name_or_path or ""),
        "model_revision": getattr(model.config, "_commit_hash", None),
    }
    made = settings.rules() | {"probe_images": len(probe), "probe_sha256": probe_digest(probe)}
    made["generation"] = in_force(model, settings.generation)
    return made | {key: value for key, value in known.items() if value}


def score_samples(
    model: PreTrainedModel,
    processor: Any,
    probe: Sequence[ProbeImage],
    settings: ScoringSettings,
    *,
    patches: PatchMap | None = None,
) -> HeadSamples:
    """Hits, weights and matched tokens of each probe image, sorted by id; arguments and errors as in `score_heads`."""
    check_probe(probe)
    check_unique_ids(probe)
    if patches is not None:
        patches.check(settings.prompt, settings.convention)
        for item in probe:
            patches.words_of(item)
    resumable = settings.workdir is not None
    work = ResumableWork(settings.workdir, _facts(model, processor, settings, patches) if resumable else {})
    size = settings.batch_size
    rows: Rows = []
    with tqdm(
        total=len(probe), unit="image", desc="score", file=sys.stderr, disable=not settings.progress
    ) as bar:
        for start in range(0, len(probe), size):
            batch = probe[start : start + size]
            make = partial(_score_batch, model, processor, batch, settings, patches)
            # The digest of its images belongs to the batch: a probe set that grows keeps its finished batches.
            rows += work.get(start // size, make, probe_digest(batch) if resumable else "")
            bar.update(len(batch))
    # In the order of the result file, so that a bootstrap draw picks the same images there.
    rows.sort(key=lambda row: row["image_id"])
    return HeadSamples(
        tuple(row["image_id"] for row in rows),
        np.array([row["hits"] for row in rows], dtype=np.int64),
        np.array([row["weights"] for row in rows], dtype=np.float64),
        np.array([row["matched"] for row in rows], dtype=np.int64),
    )


def _score_batch(
    model: PreTrainedModel,
    processor: Any,
    batch: Sequence[ProbeImage],
    settings: ScoringSettings,
    patches: PatchMap | None,
) -> Rows:
    """One recorded generation of a left padded batch; a row per image with hits and weights [L, Hq]."""
    prompts = [settings.prompt] * len(batch)
    inputs = build_inputs(processor, [p.image for p in batch], prompts, model.device)
    size = shape(model)
    recorder = ArgmaxRecorder(size.num_layers)
    answers = recorded_answers(model, processor, inputs, recorder, settings)
    peaks = recorder.positions()  # [B, S, L, Hq]
    ids = inputs["input_ids"].cpu()
    paddings = (inputs["attention_mask"] == 0).sum(dim=1).tolist()
    rows: Rows = []
    for row, (item, answer) in enumerate(zip(batch, answers, strict=True)):
        matches = match_tokens(settings.matching, processor, answer, item.words, item.boxes)
        pairs = [(step, word) for step, word in enumerate(matches) if word is not None]
        hits = np.zeros((size.num_layers, size.num_heads), dtype=np.int64)
        weights = np.zeros(hits.shape, dtype=np.float64)
        if pairs:
            prompt_ids, padding = ids[row, paddings[row] :], paddings[row]
            if patches is None:
                words = map_image(processor, item, prompt_ids, settings.convention)
            else:
                words = patches.words_of(item)
                check_positions(words, prompt_ids, size.image_token_id, f"patches, image {item.id}")
            mask, sizes = token_mask(words, ids.shape[1] + len(answer), padding)
            steps, which = (np.array(side) for side in zip(*pairs, strict=True))
            inside = mask[which[:, None, None], peaks[row, steps]]  # [N, L, Hq]
            hits = inside.sum(axis=0)
            weights = (inside / np.maximum(sizes[which], 1)[:, None, None]).sum(axis=0)
        rows.append(
            {
                "image_id": item.id,
                "hits": hits.tolist(),
                "weights": weights.tolist(),
                "matched": len(pairs),
            }
        )
    return rows


def _facts(
    model: PreTrainedModel, processor: Any, settings: ScoringSettings, patches: PatchMap | None
) -> dict[str, Any]:
    """Everything that the results of a batch depend on, but its images."""
    return {
        "model": _model_digest(model),
        "image_processor": str(processor.image_processor.to_dict()),
        "images": str(image_limits(processor)),
        "chat_template": str(processor.chat_template),
        "rules": settings.rules(),
        "generation": in_force(model, settings.generation),
        "batch_size": settings.batch_size,
        "patches": None if patches is None else patches.digest(),
        "torch": torch.__version__,
    }


def _model_digest(model: PreTrainedModel) -> str:
    """Tells models apart without reading all of a 7B: config, device, and the first values of every parameter."""
    # Saving a model writes these two into its config; the dtype of every parameter is told below.
    facts = {
        key: value for key, value in model.config.to_dict().items() if key not in ("architectures", "dtype")
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    digest.update(str(model.device.type).encode())
    for name, tensor in model.named_parameters():
        few = tensor.detach().flatten()[:16].float().cpu().numpy().tobytes()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode() + few)
    return digest.hexdigest()
