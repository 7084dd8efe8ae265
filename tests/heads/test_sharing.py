"""Scores with a card, and scores from a hub on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sparsemm import HeadScores, InputError
from sparsemm.cli.common import find_scores
from sparsemm.heads.sharing import scores_from_hub, share

from helpers.hub import Hub, Repository, local_hub, use_hub


def made() -> HeadScores:
    values = np.random.default_rng(0).random((6, 12)) ** 8
    return HeadScores(values=values, metadata={"model": "tiny", "prompt": "Read it.", "seed": 0})


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    share(made(), tmp_path / "shared")
    files = {path.name: path.read_bytes() for path in (tmp_path / "shared").iterdir()}
    empty = Repository("model", "some/empty", {"README.md": b"nothing"})
    with local_hub(Repository("model", "some/scores", files), empty) as served:
        use_hub(served, tmp_path, monkeypatch)
        yield served


def test_a_card_says_what_was_scored_and_which_heads_are_best(tmp_path: Path) -> None:
    scores = made()
    text = share(scores, tmp_path / "shared").read_text(encoding="utf-8")
    layer, head = scores.ranking()[0]
    assert text.startswith("---\nlibrary_name: sparsemm\n")
    assert "# Visual head scores of tiny" in text
    assert f"| {layer} | {head} | {scores.values[layer, head]:.4f} |" in text
    assert f"5%: {scores.top_share(0.05):.3f}" in text
    assert "- prompt: Read it." in text
    assert np.array_equal(HeadScores.from_pretrained(tmp_path / "shared").values, scores.values)


def test_a_models_own_card_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="holds a model, whose card would be replaced"):
        share(made(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_scores_are_read_from_the_hub_and_kept(hub: Hub) -> None:
    assert np.array_equal(scores_from_hub("some/scores").values, made().values)
    assert np.array_equal(find_scores("hub:some/scores", None).values, made().values)
    assert hub.asked(r"resolve/.*/head_scores.parquet") == 1


def test_what_the_hub_lacks_is_one_line(hub: Hub) -> None:
    with pytest.raises(InputError, match=r"some/empty: no head_scores.parquet there"):
        scores_from_hub("some/empty")
    with pytest.raises(InputError, match="some/unknown"):
        scores_from_hub("some/unknown")
