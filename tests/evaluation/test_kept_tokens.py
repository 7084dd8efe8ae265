"""The tokens that each KV head keeps of a page, against those that `compress` keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sparsemm.documents.pages import READ_PROMPT
from sparsemm.evaluation.cells import make_cells
from sparsemm.evaluation.kept_tokens import kept_tokens
from sparsemm.generation.compress import compress
from sparsemm.generation.prefill import PrefillLayer, capture_prefill
from sparsemm.generation.selector import token_selector
from sparsemm.heads.scores import HeadScores
from sparsemm.heads.view_cells import view_cells
from sparsemm.models.loading import Loaded, build_inputs
from sparsemm.results.parquet import read_table, write_table

from helpers.probes import make_probe
from helpers.tiny import model, processor

LAYERS, HEADS = 3, 6
PAIRS = [
    ["fullkv", 0],
    *[[name, 12] for name in ("snapkv", "adakv", "sparsemm", "snapkv@key_norm", "local_window")],
]


def test_kept_tokens_are_those_of_compress(variant: str, tmp_path: Path) -> None:
    made, item = model(variant), make_probe(variant)[0]
    loaded = Loaded(made, processor(), "llava_next", f"tiny-{variant}", "none")
    heads = made.config.get_text_config().num_key_value_heads
    scores = HeadScores(np.arange(1.0, 1 + LAYERS * HEADS).reshape(LAYERS, HEADS))
    cells = make_cells(PAIRS, scores=scores, num_kv_heads=heads, window=4, kernel=3)
    found = kept_tokens(loaded, item, cells, prompt=READ_PROMPT, most=10_000)
    inputs = build_inputs(processor(), [item.image], [READ_PROMPT], "cpu")
    view = view_cells(processor(), item, inputs["input_ids"][0], 10_000)
    assert set(found.keep["policy"]) == {"snapkv", "adakv", "sparsemm", "snapkv@key_norm"}
    assert set(found.ranks["ranker"]) == {"window_attention", "key_norm"}
    for cell in cells:
        rows = found.keep[found.keep["policy"] == cell.label]
        if rows.empty:
            continue
        with compress(made, cell.policy, any_scores=True) as run:
            made.generate(**inputs, max_new_tokens=2, do_sample=False)
        assert rows["kept_tokens"].to_numpy().reshape(LAYERS, heads).tolist() == run.kept[:, 0].tolist()
        masks = {}

        def take(seen: PrefillLayer, cell=cell, masks=masks) -> None:  # type: ignore[no-untyped-def]
            choose = token_selector(cell.policy, seen.index, LAYERS, seen.images)
            masks[seen.index] = choose(seen.query, seen.key, seen.value, seen.valid, seen.scaling)[0].numpy()

        capture_prefill(made, inputs, take)
        for layer in range(LAYERS):
            own = rows[rows["layer"] == layer]
            order = found.ranks[
                (found.ranks["ranker"] == own["ranker"].iloc[0]) & (found.ranks["layer"] == layer)
            ]
            places = np.frombuffer(order["ranks"].iloc[0], "<u2").reshape(heads, *view.grid)
            drawn = places <= own["keep"].to_numpy()[:, None, None]
            assert (drawn == masks[layer][:, view.positions]).all()
            assert own["image_tokens"].tolist() == masks[layer][:, view.image].sum(axis=1).tolist()
    for name, kind in (("ranks", "token_ranks"), ("keep", "page_keep")):
        write_table(tmp_path / f"{name}.parquet", getattr(found, name), kind, {})
        assert len(read_table(tmp_path / f"{name}.parquet", kind)) == len(getattr(found, name))


def test_two_settings_of_a_ranker_have_names_of_their_own() -> None:
    made, item = model("mha"), make_probe("mha")[0]
    loaded = Loaded(made, processor(), "llava_next", "tiny-mha", "none")
    labels = ["snapkv@streaming[sinks=2]", "snapkv@streaming[sinks=6]"]
    cells = make_cells([[label, 12] for label in labels], window=4, kernel=3)
    found = kept_tokens(loaded, item, cells, prompt=READ_PROMPT, most=50)
    assert found.keep.groupby("policy")["ranker"].first().tolist() == ["streaming", "streaming 2"]
    assert len(found.ranks) == 2 * LAYERS
