"""Labels that pair an allocator with a ranker: parts, policies made of them, typos, names and looks."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from sparsemm.errors import InputError
from sparsemm.evaluation.cells import describe, make_cells
from sparsemm.labels import split_label
from sparsemm.methods import METHODS, RANKERS, label_of, look, main_methods
from sparsemm.policies import (
    POLICY_NAMES,
    RANKER_NAMES,
    AdaKV,
    DuoHeads,
    SnapKV,
    SparseMM,
    make_policy,
    parse_label,
    ranker_of,
    registry,
)
from sparsemm.policies.rankers import KeyNorm, RandomTokens, Streaming, WindowAttention
from sparsemm.policies.registry import ranker_class

SCORES = [[0.4, 0.1], [0.2, 0.3]]


def made(label: str, **settings: Any) -> Any:
    return make_policy(label, **{"budget": 64, "window": 8, "kernel": 3, "scores": SCORES} | settings)


def test_parts_of_a_label() -> None:
    assert parse_label("adakv") == ("adakv", {}, None, {})
    assert parse_label(" sparsemm[rho=0.3, waterfill=true]@streaming[sinks=8] ") == (
        "sparsemm",
        {"rho": 0.3, "waterfill": True},
        "streaming",
        {"sinks": 8},
    )
    assert parse_label("duo_heads[share=0.25]")[1] == {"share": 0.25}
    assert split_label("snapkv@key_norm[]").ranker == "key_norm"


@pytest.mark.parametrize("method", POLICY_NAMES)
@pytest.mark.parametrize("ranker", RANKER_NAMES)
def test_every_method_takes_every_ranker(method: str, ranker: str) -> None:
    policy = made(f"{method}@{ranker}")
    assert isinstance(policy.ranker, ranker_class(ranker))
    assert ranker_of(policy).name == ranker
    assert ranker_of(policy).window == policy.window
    assert ranker_of(dataclasses.replace(policy)) == ranker_of(policy)


def test_the_default_is_window_attention_of_the_policys_settings() -> None:
    assert made("snapkv").ranker is None
    assert ranker_of(made("snapkv", ranking="model")) == WindowAttention(8, 3, "model")
    assert ranker_of(made("snapkv@window_attention", ranking="model")) == WindowAttention(8, 3, "model")
    assert ranker_of(made("snapkv@window_attention[kernel=7]")) == WindowAttention(8, 7)
    assert ranker_of(made("duo_heads[sinks=2]")) == Streaming(8, 2)
    assert ranker_of(dataclasses.replace(DuoHeads(SCORES, 64), sinks=9, window=5)) == Streaming(5, 9)


def test_a_rankers_window_is_its_policys() -> None:
    assert ranker_of(SnapKV(64, window=8, ranker=KeyNorm())) == KeyNorm(8)
    assert ranker_of(AdaKV(64, window=8, ranker=KeyNorm(8))) == KeyNorm(8)
    assert ranker_of(made("local_window@key_norm")).window == 64


def test_settings_of_a_run_reach_the_ranker_and_the_label_overrides_them() -> None:
    assert ranker_of(made("snapkv@random_tokens", seed=5)) == RandomTokens(5, 8)
    assert ranker_of(made("snapkv@random_tokens[seed=6]", seed=5)) == RandomTokens(6, 8)
    both = made("random_heads[seed=1]@random_tokens[seed=2]", seed=5)
    assert (both.seed, both.ranker.seed) == (1, 2)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("sparsemm@key_nrm", "the ranker 'key_nrm' is not known: did you mean 'key_norm'"),
        ("sparsemm@zzz", "choose from window_attention, last_query"),
        ("sparsem@key_norm", "'sparsem@key_norm' is not known: did you mean 'sparsemm'"),
        ("sparsemm@", "is not known: write it like"),
        ("@key_norm", "is not known"),
        ("sparsemm@key_norm@streaming", "is not known: write it like"),
        ("sparsemm@key_norm[sinks=2]", "'sinks' is no setting of key_norm: it has none"),
        ("sparsemm@streaming[sinks=few]", "'few' is no value for sinks"),
        ("sparsemm@streaming[sinks=-1]", "streaming: sinks is -1"),
        ("sparsemm@window_attention[kernel=2]", "window_attention: kernel is 2"),
        ("sparsemm@streaming[window=3]", "'window' is no setting of streaming"),
        ("sparsemm[ranker=key_norm]", "'ranker' is no setting of sparsemm"),
        ("duo_heads[share=2]", "share is 2.0"),
        ("visual_ada[prior=1.5]", "prior is 1.5"),
    ],
)
def test_typos_are_one_clear_line(label: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        made(label)
    assert "\n" not in str(caught.value)


def test_a_policy_that_takes_no_ranker_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Plain:
        budget: int
        window: int = 8
        name: ClassVar[str] = "snapkv"

    monkeypatch.setattr(registry, "policy_class", lambda name: Plain)
    with pytest.raises(InputError, match="snapkv takes no ranker: leave out @key_norm"):
        parse_label("snapkv@key_norm")
    with pytest.raises(InputError, match="snapkv: ranker is 'key_norm': give a ranker"):
        SnapKV(64, ranker="key_norm")  # type: ignore[arg-type]


def test_head_scores_of_a_published_file(tmp_path: Path) -> None:
    path = tmp_path / "heads-2.json"
    path.write_text(
        json.dumps({f"{i}-{j}": [i + j, i * j] for i in range(2) for j in range(4)}), encoding="utf-8"
    )
    label = f"sparsemm[scores={path}, rho=0.2]@key_norm"
    policy = make_policy(label, budget=64, num_kv_heads=2)
    table = np.array([[np.mean([i + j, i * j]) for j in range(4)] for i in range(2)])
    values = torch.rand(1, 2, 300)
    for layer in range(2):
        want = SparseMM(table / table.sum(), 64, rho=0.2).keep(values, layer=layer, num_layers=2)
        assert torch.equal(policy.keep(values, layer=layer, num_layers=2), want)
    with pytest.raises(InputError, match="do not group into 3"):
        make_policy(label, budget=64, num_kv_heads=3)
    with pytest.raises(InputError, match="cannot be read"):
        make_policy("duo_heads[scores=none.json]", budget=64)
    with pytest.raises(InputError, match="'scores' is no setting of snapkv"):
        make_policy("snapkv[scores=none.json]", budget=64)


def test_cells_differ_by_their_ranker() -> None:
    labels = ["sparsemm", "sparsemm@key_norm", "sparsemm@streaming", "sparsemm@streaming[sinks=8]"]
    cells = make_cells([(label, 20) for label in labels], scores=SCORES, window=8)
    assert [cell.label for cell in cells] == labels
    assert len({describe(cell.policy) for cell in cells}) == len(labels)
    assert all(isinstance(cell.policy, SparseMM) for cell in cells)
    with pytest.raises(InputError, match="comes twice"):
        make_cells([("snapkv@key_norm", 20)] * 2, window=8)


def test_names_and_looks_of_pairs() -> None:
    assert set(RANKERS) == set(RANKER_NAMES)
    assert all(ranker_class(name).name == name for name in RANKERS)
    assert len({entry.marker for entry in RANKERS.values()}) == len(RANKERS)
    assert label_of("sparsemm@key_norm") == "SparseMM, key norm"
    assert label_of("adakv@streaming[sinks=8]") == "AdaKV, streaming [sinks=8]"
    pair = look("sparsemm@key_norm")
    assert pair.color == METHODS["sparsemm"].look.color
    assert pair != METHODS["sparsemm"].look
    assert label_of("sparsemm[rho=0.3]@key_norm") == "sparsemm[rho=0.3]@key_norm"


def test_pairs_are_compared_in_main_tables_and_variants_are_not() -> None:
    labels = [
        "snapkv",
        "sparsemm@key_norm",
        "sparsemm[rho=0.3]",
        "sparsemm[rho=0.3]@key_norm",
        "adakv@streaming",
    ]
    assert main_methods(labels)[-2:] == ["adakv@streaming", "sparsemm@key_norm"]
    assert main_methods(labels)[:-2] == main_methods()
