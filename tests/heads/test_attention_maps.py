"""Attention maps against a plain eager reference, in the schema of the result file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsemm.documents.pages import READ_PROMPT
from sparsemm.errors import InputError
from sparsemm.families.llava_next import LlavaNextLayout
from sparsemm.heads.attention_maps import attention_maps, choose_heads
from sparsemm.heads.matching import match_pieces, token_texts
from sparsemm.heads.probe import ProbeImage
from sparsemm.heads.scores import HeadScores
from sparsemm.models.loading import Loaded, build_inputs
from sparsemm.models.patching import attention_implementation
from sparsemm.reporting.figures.maps import figure10
from sparsemm.results.parquet import read_table, write_table

from helpers.probes import NEW, make_probe
from helpers.tiny import image, model, processor


def loaded(variant: str) -> Loaded:
    return Loaded(model(variant), processor(), "llava_next", f"tiny-{variant}", "none")


UNREAD = ProbeImage("x", image(), ["\u00e9"], [(0.0, 0.0, 6.0, 4.0)])  # a word that no tiny model writes


def reference(variant: str, item: ProbeImage, head: tuple[int, int]) -> np.ndarray:
    """Mean attention of the matched tokens on the high-res grid, by eager output_attentions."""
    made = model(variant)
    inputs = build_inputs(processor(), [item.image], [READ_PROMPT], "cpu")
    with attention_implementation(made, "eager"):
        out: Any = made.generate(
            **inputs,
            max_new_tokens=NEW,
            do_sample=False,
            output_attentions=True,
            return_dict_in_generate=True,
        )
    ids = inputs["input_ids"][0]
    texts = token_texts(processor().tokenizer, out.sequences[0, len(ids) :].tolist())
    steps = [i for i, word in enumerate(match_pieces("stripped", texts, item.words)) if word is not None]
    layout = LlavaNextLayout(made.config, (item.image.height, item.image.width))
    at = layout.positions(ids, made.config.image_token_id)
    rows = [out.attentions[step][head[0]][0, head[1], -1].numpy()[at] for step in steps]
    return layout.grid_values(np.mean(rows, axis=0))


def test_equals_eager_and_fits_the_result_file(variant: str, tmp_path: Path) -> None:
    probe = make_probe(variant)[:2]
    heads = [(2, 5), (0, 1), (2, 0)]
    scores = HeadScores(np.arange(1.0, 19.0).reshape(3, 6))
    frame = attention_maps(loaded(variant), probe, heads, scores=scores, max_new_tokens=NEW)
    assert frame["panel"].tolist() == list(range(6))
    assert list(zip(frame["layer"], frame["head"])) == heads * 2
    for row in frame.itertuples():
        item = probe[row.panel // 3]
        assert np.allclose(row.grid, reference(variant, item, (row.layer, row.head)), atol=1e-6)
        assert row.score == scores.values[row.layer, row.head]
        assert row.token
        assert set(row.token) <= set("".join(item.words))
    path = tmp_path / "maps.parquet"
    write_table(path, frame, "attention_maps", {})
    again = read_table(path, "attention_maps")
    assert again["grid"].tolist() == frame["grid"].tolist()


def test_heads_are_the_best_and_some_of_the_lower_half() -> None:
    scores = HeadScores(np.random.default_rng(0).random((3, 6)))
    heads = choose_heads(scores, visual=2, other=3, seed=1)
    assert heads == choose_heads(scores, visual=2, other=3, seed=1)
    assert heads[:2] == scores.ranking()[:2]
    assert set(heads[2:]) <= set(scores.ranking()[9:])
    assert len(set(heads)) == 5
    with pytest.raises(InputError, match="ask for fewer"):
        choose_heads(scores, visual=2, other=10)


def test_bad_heads_and_images_get_one_line() -> None:
    item = make_probe("mha")[0]
    for heads, said in (([(3, 0)], "head .3, 0. is not one"), ([], "no head")):
        with pytest.raises(InputError, match=said):
            attention_maps(loaded("mha"), item, heads, max_new_tokens=2)
    unread = UNREAD
    with pytest.raises(InputError, match="image x: no generated token matches"):
        attention_maps(loaded("mha"), unread, [(0, 0)], max_new_tokens=2)


def test_where_nothing_matches_all_tokens_are_shown_on_request(tmp_path: Path) -> None:
    made, heads = model("mha"), [(0, 0), (2, 3)]
    keywords = {"max_new_tokens": NEW, "no_match": "uniform"}
    scores = HeadScores(np.ones((3, 6)))
    frame = attention_maps(loaded("mha"), UNREAD, heads, scores=scores, **keywords)
    assert [len(token) for token in frame["token"]] == [NEW] * 2
    said = frame["token"][0]
    page = ProbeImage("x", image(), [said], UNREAD.boxes)  # every token matches: the same mean
    assert frame["grid"].tolist() == attention_maps(loaded("mha"), page, heads, **keywords)["grid"].tolist()
    before, made.generation_config.eos_token_id = made.generation_config.eos_token_id, list(range(101))
    try:
        ended = attention_maps(loaded("mha"), UNREAD, heads, scores=scores, **keywords)
    finally:
        made.generation_config.eos_token_id = before
    assert ended["token"].tolist() == ["", ""]
    assert np.max(ended["grid"].tolist()) > 0
    for each in (frame, ended):
        write_table(tmp_path / "tiny.parquet", each, "attention_maps", {})
        figure10([tmp_path / "tiny.parquet"], tmp_path / "figure10")
