"""The one-prefill engine answers exactly what separate runs answer, for every cell."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsemm.evaluation.engine.bucketing import bucket_rows
from sparsemm.evaluation.engine.run import EngineOutput, run_cells
from sparsemm.generation.compress import compress
from sparsemm.policies import (
    AdaKV,
    FullKV,
    LocalWindow,
    Policy,
    PyramidKV,
    RandomHeads,
    SnapKV,
    SparseMM,
)

from helpers import tiny

NEW = 8


def cells(variant: str, budgets: tuple[int, ...] = (8, 20, 60, 90, 500)) -> list[Policy]:
    heads = tiny.config(variant).text_config.num_key_value_heads
    scores = np.random.default_rng(0).dirichlet([0.3] * (tiny.LAYERS * heads)).reshape(tiny.LAYERS, heads)
    made: list[Policy] = [FullKV(window=4), FullKV(window=500)]
    for budget in budgets:
        made += [
            SnapKV(budget, window=4),
            PyramidKV(budget, window=4),
            AdaKV(budget, window=4),
            SparseMM(scores, budget, window=4),
            SparseMM(scores, budget, rho=0.5, window=6, kernel=3),
            SparseMM(scores, budget, window=4, waterfill=True),
            RandomHeads(budget, window=4),
            LocalWindow(budget),
        ]
    return made


def one(index: int) -> dict[str, torch.Tensor]:
    """Sample ``index`` of the padded batch by itself (same image, same prompt)."""
    image = [[tiny.image(*tiny.UNEQUAL[index], seed=index)]]
    text = [f"<s>USER: <image>\nRead line {index}. ASSISTANT:"]
    return dict(tiny.processor()(images=image, text=text, return_tensors="pt"))


def separate(variant: str, policy: Policy, index: int) -> tuple[list[int], torch.Tensor]:
    """Answer and kept [L, Hkv] of a plain compressed generate of one sample."""
    model, inputs = tiny.model(variant), one(index)
    with compress(model, policy) as run:
        out = model.generate(**inputs, max_new_tokens=NEW, do_sample=False)
    return out[0, inputs["input_ids"].shape[1] :].tolist(), run.kept[:, 0]


@pytest.fixture(scope="module", params=tiny.VARIANTS)
def together(request: pytest.FixtureRequest) -> tuple[str, list[Policy], EngineOutput]:
    policies = cells(request.param)
    inputs = tiny.inputs(tiny.UNEQUAL)
    return (
        request.param,
        policies,
        run_cells(tiny.model(request.param), inputs, policies, max_new_tokens=NEW, stop=()),
    )


def test_every_cell_equals_its_own_run(together: tuple[str, list[Policy], EngineOutput]) -> None:
    variant, policies, output = together
    for cell, policy in enumerate(policies):
        for index in range(len(tiny.UNEQUAL)):
            tokens, kept = separate(variant, policy, index)
            assert output.tokens[cell][index] == tokens, (policy, index)
            assert torch.equal(output.kept[cell, index], kept), (policy, index)
    assert len({tuple(cell[0]) for cell in output.tokens}) > 5  # the cells do differ


def test_equal_kept_sets_share_a_row(together: tuple[str, list[Policy], EngineOutput]) -> None:
    variant, policies, output = together
    assert output.rows < len(policies) * len(tiny.UNEQUAL)
    whole: list[Policy] = [FullKV(window=4), SnapKV(500, window=4), AdaKV(500, window=6), LocalWindow(400)]
    out = run_cells(tiny.model(variant), tiny.inputs(tiny.UNEQUAL), whole, max_new_tokens=2, stop=())
    assert out.rows == len(tiny.UNEQUAL)
    assert torch.equal(out.kept, out.prompt_tokens[None, :, None, None].expand_as(out.kept))
    twice: list[Policy] = [SnapKV(20, window=4), SnapKV(20, window=4), SnapKV(21, window=4)]
    out = run_cells(tiny.model(variant), tiny.inputs(tiny.UNEQUAL), twice, max_new_tokens=2, stop=())
    assert out.rows == 2 * len(tiny.UNEQUAL)


def test_rows_that_stop_leave_the_others_unchanged(together: tuple[str, list[Policy], EngineOutput]) -> None:
    variant, policies, output = together
    counts: dict[int, int] = {}
    for token in (token for cell in output.tokens for answer in cell for token in answer):
        counts[token] = counts.get(token, 0) + 1
    stop = sorted(counts, key=lambda token: counts[token])[len(counts) // 2 :][
        :3
    ]  # some rows stop, some do not
    inputs = tiny.inputs(tiny.UNEQUAL)
    stopped = run_cells(tiny.model(variant), inputs, policies, max_new_tokens=NEW, stop=stop)
    ends = set()
    for free, cut in zip(output.tokens, stopped.tokens, strict=True):
        for long, short in zip(free, cut, strict=True):
            end = next((place for place, token in enumerate(long) if token in stop), len(long))
            assert short == long[:end]
            ends.add(end)
    assert len(ends) > 2


def test_long_answers_outgrow_the_first_block() -> None:
    model, inputs = tiny.model("gqa"), one(0)
    output = run_cells(model, inputs, [FullKV(window=4), SnapKV(20, window=4)], max_new_tokens=40, stop=())
    plain = model.generate(**inputs, max_new_tokens=40, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert output.tokens[0][0] == plain.tolist()
    with compress(model, SnapKV(20, window=4)):
        snap = model.generate(**inputs, max_new_tokens=40, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert output.tokens[1][0] == snap.tolist()


def test_the_model_is_as_before() -> None:
    model = tiny.model("mha")
    before = model.config.get_text_config()._attn_implementation
    run_cells(model, one(0), [FullKV()], max_new_tokens=2, stop=())
    assert model.config.get_text_config()._attn_implementation == before


def test_rows_are_cut_where_it_is_cheapest() -> None:
    rng = np.random.default_rng(0)
    for overhead in (0.0, 30.0, 1e9):
        sizes = rng.integers(1, 50, (6, 3))
        groups = bucket_rows(sizes, overhead)
        assert sorted(row for rows, _ in groups for row in rows) == list(range(6))
        for rows, columns in groups:
            assert (columns == sizes[rows].max(0)).all()
        cost = sum(3 * overhead + len(rows) * columns.sum() for rows, columns in groups)
        assert cost == pytest.approx(cheapest(sizes[np.argsort(sizes.sum(1), kind="stable")], overhead))
    assert len(groups) == 1  # an overhead that large


def cheapest(ordered: np.ndarray, overhead: float) -> float:
    """The least cost over all ways to cut the ordered rows."""
    count, layers = ordered.shape
    costs = []
    for cuts in range(2 ** (count - 1)):
        ends = [place + 1 for place in range(count - 1) if cuts >> place & 1] + [count]
        starts = [0, *ends[:-1]]
        runs = [ordered[start:end] for start, end in zip(starts, ends)]
        costs.append(sum(layers * overhead + len(run) * run.max(0).sum() for run in runs))
    return min(costs)
