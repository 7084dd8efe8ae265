"""The attention of all heads over a page, against the attention maps of single heads and the visual scores' hits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparsemm.documents.pages import READ_PROMPT
from sparsemm.errors import InputError
from sparsemm.heads.attention_maps import attention_maps
from sparsemm.heads.head_maps import head_maps
from sparsemm.heads.scoring import score_samples
from sparsemm.heads.view_cells import view_cells
from sparsemm.models.loading import Loaded, build_inputs
from sparsemm.results.parquet import read_table, write_table

from helpers.probes import NEW, make_probe, settings_of
from helpers.tiny import model, processor

LAYERS, HEADS = 3, 6


def loaded(variant: str) -> Loaded:
    return Loaded(model(variant), processor(), "llava_next", f"tiny-{variant}", "none")


def test_mean_over_matched_tokens_is_the_attention_map(variant: str, tmp_path: Path) -> None:
    item = make_probe(variant)[0]
    found = head_maps(loaded(variant), item, tokens=NEW, cells=10_000, settings=settings_of())
    page, frame = found.page.iloc[0], found.maps
    grid = (len(page.row_edges) - 1, len(page.col_edges) - 1)
    heads = [(2, 5), (0, 1)]
    single = attention_maps(loaded(variant), item, heads, settings=settings_of())
    for (layer, head), wanted in zip(heads, single["grid"]):
        rows = frame[(frame["layer"] == layer) & (frame["word"] >= 0)]
        maps = [
            np.frombuffer(row.weights, np.uint8).reshape(HEADS, *grid)[head] / 255 * row.peaks[head]
            for row in rows.itertuples()
        ]
        # A byte is at most half a step of 1 / 255 of the largest cell away.
        assert np.allclose(
            np.mean(maps, axis=0), np.array(wanted), atol=max(max(p) for p in rows["peaks"]) / 500
        )
        assert "".join(rows["token"]) == single["token"].iloc[0]
    assert page.block == 1
    assert (page.row_edges[0], page.row_edges[-1]) == (0.0, float(item.image.height))
    assert (page.col_edges[0], page.col_edges[-1]) == (0.0, float(item.image.width))
    for name, kind in (("page", "head_pages"), ("maps", "head_maps")):
        path = tmp_path / f"{name}.parquet"
        write_table(path, getattr(found, name), kind, {})
        assert len(read_table(path, kind)) == len(getattr(found, name))


def test_hits_are_those_that_the_visual_score_counts(variant: str) -> None:
    item = make_probe(variant)[1]
    frame = head_maps(loaded(variant), item, tokens=NEW, cells=100, settings=settings_of()).maps
    counted = score_samples(model(variant), processor(), [item], settings_of())
    hits = np.zeros((LAYERS, HEADS), dtype=int)
    for row in frame.itertuples():
        hits[row.layer] += np.array(row.hits)
    assert hits.tolist() == counted.hits[0].tolist()
    assert frame[frame["layer"] == 0]["word"].ge(0).sum() == counted.matched[0]


def test_cells_are_joined_until_they_fit_and_lose_no_weight() -> None:
    item = make_probe("mha")[4]
    fine, coarse = (
        head_maps(loaded("mha"), item, tokens=2, cells=cells, settings=settings_of())
        for cells in (10_000, 20)
    )
    page = coarse.page.iloc[0]
    rows, cols = len(page.row_edges) - 1, len(page.col_edges) - 1
    assert rows * cols <= 20
    assert page.block > 1
    assert len(coarse.maps) == 2 * LAYERS  # the first tokens only
    for one, other in zip(fine.maps.itertuples(), coarse.maps.itertuples()):
        assert one.shares == pytest.approx(other.shares)
        assert max(other.peaks) >= max(one.peaks)


def test_cells_add_up_and_find_the_best_of_their_tokens() -> None:
    item = make_probe("mha")[4]
    ids = build_inputs(processor(), [item.image], [READ_PROMPT])["input_ids"][0]
    cells = view_cells(processor(), item, ids, 20)
    count = cells.positions.size
    values = np.random.default_rng(0).random((2, count)).astype(np.float32)
    assert np.allclose(cells.sums(values).sum(axis=(1, 2)), values.sum(axis=1), rtol=1e-5)
    places = np.random.default_rng(1).permutation(count)[None]
    assert cells.least(places).shape == (1, *cells.grid)
    high, wide = cells.positions.shape
    block = places.reshape(high, wide)[: cells.block, : cells.block]
    assert cells.least(places)[0, 0, 0] == block.min()


def test_nothing_asked_for_is_one_line() -> None:
    item = make_probe("mha")[0]
    for tokens, cells in ((0, 5), (5, 0)):
        with pytest.raises(InputError, match="give at least 1 of each"):
            head_maps(loaded("mha"), item, tokens=tokens, cells=cells, settings=settings_of())
