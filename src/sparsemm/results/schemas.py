"""Schemas of the result files: columns of each kind, the key that makes a row unique, columns that may be empty."""

from __future__ import annotations

import pyarrow as pa


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


_STRINGS = pa.list_(pa.string())
_ROWS = pa.list_(pa.list_(pa.float64()))
_INDEXES = pa.list_(pa.int64())
_FLOATS = pa.list_(pa.float64())

# Measurements of the kind "profile": integers, then floats.
_COUNTED = (
    "rows",
    "peak_bytes",
    "peak_reserved_bytes",
    "cache_bytes",
    "reserved_cache_bytes",
    "weight_bytes",
    "moved_bytes",
)
_TIMED = (
    "prefill_s",
    "first_token_s",
    "selection_s",
    "decode_ms_per_token",
    "decode_ms_least",
    "decode_ms_most",
    "tokens_per_s",
    "kept_tokens",
    "achieved_gb_s",
    "copy_gb_s",
    "times_floor",
)
# The chosen rule set's score, and the score by each rule set.
_SCORES = ("score", "score_paper", "score_current")
# A cell that ran out of memory has a row without measurements; a metric of a whole run has no score of a row, and one
# whose program is missing has none at all.
MAY_BE_EMPTY = {
    "profile": {*_COUNTED, *_TIMED},
    "predictions": {*_SCORES},
    "masks": {*_SCORES},
    "run_scores": {*_SCORES},
}

SCHEMAS: dict[str, pa.Schema] = {
    "probe": _schema(id=pa.string(), image=pa.binary(), words=_STRINGS, boxes=_ROWS),
    "patches": _schema(
        image=pa.string(),
        index=pa.int32(),
        word=pa.string(),
        box=_FLOATS,
        image_tokens=_INDEXES,
        prompt_positions=_INDEXES,
        cells=_ROWS,
    ),
    "scores": _schema(
        layer=pa.int32(),
        head=pa.int32(),
        kv_head=pa.int32(),
        hits=pa.int64(),
        matched_tokens=pa.int64(),
        score=pa.float64(),
        ci_low=pa.float64(),
        ci_high=pa.float64(),
    ),
    "score_samples": _schema(
        image_id=pa.string(),
        layer=pa.int32(),
        head=pa.int32(),
        hits=pa.int64(),
        matched_tokens=pa.int64(),
        weight=pa.float64(),
        mean=pa.float64(),
    ),
    "keep": _schema(
        policy=pa.string(), budget=pa.int64(), layer=pa.int32(), kv_head=pa.int32(), keep=pa.int64()
    ),
    "predictions": _schema(
        sample_id=pa.string(),
        image_id=pa.string(),
        policy=pa.string(),
        budget=pa.int64(),
        prediction=pa.string(),
        answers=_STRINGS,
        **{name: pa.float64() for name in _SCORES},
        prompt_tokens=pa.int64(),
        kept_tokens=pa.float64(),
        cache_bytes=pa.int64(),
    ),
    "masks": _schema(
        sample_id=pa.string(),
        kind=pa.string(),
        fraction=pa.float64(),
        seed=pa.int64(),
        prediction=pa.string(),
        answers=_STRINGS,
        **{name: pa.float64() for name in _SCORES},
    ),
    "recipes": _schema(
        image_id=pa.string(),
        matching=pa.string(),
        grid=pa.string(),
        measure=pa.string(),
        weight=pa.string(),
        layer=pa.int32(),
        head=pa.int32(),
        score=pa.float64(),
    ),
    "head_losses": _schema(
        image_id=pa.string(),
        group=pa.int64(),
        heads=_INDEXES,
        loss=pa.float64(),
        tokens=pa.int64(),
    ),
    "reading_masks": _schema(
        image_id=pa.string(),
        kind=pa.string(),
        fraction=pa.float64(),
        seed=pa.int64(),
        right=pa.int64(),
        tokens=pa.int64(),
    ),
    "run_scores": _schema(
        unit=pa.string(),
        image_id=pa.string(),
        policy=pa.string(),
        budget=pa.int64(),
        **{name: pa.float64() for name in _SCORES},
        unread=pa.int64(),
    ),
    "efficiency": _schema(
        policy=pa.string(),
        budget=pa.int64(),
        input_tokens=pa.int64(),
        repeat=pa.int64(),
        prefill_s=pa.float64(),
        decode_ms_per_token=pa.float64(),
        peak_bytes=pa.int64(),
        cache_bytes=pa.int64(),
        device=pa.string(),
    ),
    "profile": _schema(
        policy=pa.string(),
        budget=pa.int64(),
        input_tokens=pa.int64(),
        batch=pa.string(),
        status=pa.string(),
        weights=pa.string(),
        dtype=pa.string(),
        device=pa.string(),
        **{name: pa.int64() for name in _COUNTED},
        **{name: pa.float64() for name in _TIMED},
    ),
    "attention_maps": _schema(
        panel=pa.int32(),
        layer=pa.int32(),
        head=pa.int32(),
        score=pa.float64(),
        image=pa.binary(),
        grid=_ROWS,
        token=pa.string(),
    ),
    # The page that the explorer shows. Its cells are blocks of image tokens of the finest view; edges in px.
    "head_pages": _schema(
        image_id=pa.string(),
        image=pa.binary(),
        words=_STRINGS,
        boxes=_ROWS,
        row_edges=_FLOATS,
        col_edges=_FLOATS,
        block=pa.int64(),
        answer=pa.string(),
        prompt_tokens=pa.int64(),
        image_tokens=pa.int64(),
    ),
    # Attention of all heads of a layer for one generated token: weights uint8 [Hq, rows, cols], 255 at a head's peak.
    "head_maps": _schema(
        image_id=pa.string(),
        step=pa.int32(),
        layer=pa.int32(),
        token=pa.string(),
        word=pa.int32(),
        peaks=_FLOATS,
        shares=_FLOATS,
        hits=_INDEXES,
        weights=pa.binary(),
    ),
    # Places of a page's cells in the ranking of each KV head: uint16, little endian [Hkv, rows, cols], from 1; 0 in the
    # window. A cell is kept where its place is not above `keep`.
    "token_ranks": _schema(
        image_id=pa.string(),
        ranker=pa.string(),
        layer=pa.int32(),
        ranks=pa.binary(),
    ),
    "page_keep": _schema(
        image_id=pa.string(),
        policy=pa.string(),
        budget=pa.int64(),
        layer=pa.int32(),
        kv_head=pa.int32(),
        ranker=pa.string(),
        keep=pa.int64(),
        kept_tokens=pa.int64(),
        image_tokens=pa.int64(),
    ),
}

# The key of each kind, in the order in which rows are sorted.
KEYS: dict[str, tuple[str, ...]] = {
    "probe": ("id",),
    "patches": ("image", "index"),
    "scores": ("layer", "head"),
    "score_samples": ("image_id", "layer", "head"),
    "keep": ("policy", "budget", "layer", "kv_head"),
    "predictions": ("sample_id", "policy", "budget"),
    "masks": ("sample_id", "kind", "fraction", "seed"),
    "recipes": ("image_id", "matching", "grid", "measure", "weight", "layer", "head"),
    "head_losses": ("image_id", "group"),
    "reading_masks": ("image_id", "kind", "fraction", "seed"),
    "run_scores": ("unit", "policy", "budget"),
    "efficiency": ("policy", "budget", "input_tokens", "repeat"),
    "profile": ("policy", "budget", "input_tokens", "batch"),
    "attention_maps": ("panel", "layer", "head"),
    "head_pages": ("image_id",),
    "head_maps": ("image_id", "step", "layer"),
    "token_ranks": ("image_id", "ranker", "layer"),
    "page_keep": ("image_id", "policy", "budget", "layer", "kv_head"),
}
