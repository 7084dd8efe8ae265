"""Benchmarks: samples from seeds, shards that tile, hub facts that say what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from sparsemm.benchmarks import Benchmark, benchmark_names, get_benchmark
from sparsemm.benchmarks.base import shard_indices
from sparsemm.errors import InputError

SYNTHETIC = ["synth-docvqa", "synth-ocr", "synth-chart"]


@pytest.mark.parametrize("name", SYNTHETIC)
def test_samples_depend_on_seed_and_index_alone(name: str) -> None:
    benchmark = get_benchmark(name)
    assert isinstance(benchmark, Benchmark)
    whole = list(benchmark.load(5, seed=3))
    parts = [s for shard in range(3) for s in benchmark.load(5, seed=3, shard=shard, shards=3)]
    assert whole == parts  # images are not compared by ==
    assert all(
        np.array_equal(np.asarray(a.image), np.asarray(b.image)) for a, b in zip(whole, parts, strict=True)
    )
    assert [s.id for s in whole] == sorted(s.id for s in whole)
    other = list(benchmark.load(5, seed=4))
    assert [s.answers for s in other] != [s.answers for s in whole]
    longer = list(benchmark.load(9, seed=3))[:5]
    assert longer == whole


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_answer_scores_one_and_nothing_scores_zero(name: str) -> None:
    benchmark = get_benchmark(name)
    for sample in benchmark.load(3, seed=0):
        assert benchmark.score(sample.answers[0], sample) == 1.0
        assert benchmark.score("?", sample) == 0.0


def test_synth_ocr_accepts_the_whole_page() -> None:
    benchmark = get_benchmark("synth-ocr")
    sample = next(iter(benchmark.load(1, seed=0)))
    assert benchmark.score(f"ABC 1234\nDEF {sample.answers[0]}\nXYZ 9", sample) == 1.0


def test_relaxed_accuracy_forgives_five_percent() -> None:
    benchmark = get_benchmark("synth-chart")
    sample = next(iter(benchmark.load(1, seed=0)))
    assert benchmark.score(str(float(sample.answers[0]) * 1.04), sample) == 1.0


@pytest.mark.parametrize(("count", "shards"), [(10, 3), (2, 4), (7, 7), (500, 4)])
def test_shards_tile_the_samples(count: int, shards: int) -> None:
    pieces = [shard_indices(count, shard, shards) for shard in range(shards)]
    assert [i for piece in pieces for i in piece] == list(range(count))
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


@pytest.mark.parametrize(("shard", "shards"), [(3, 3), (-1, 3), (0, 0)])
def test_a_shard_out_of_range_is_refused(shard: int, shards: int) -> None:
    with pytest.raises(InputError, match="shard"):
        list(get_benchmark("synth-docvqa").load(10, 0, shard=shard, shards=shards))


def test_hub_benchmarks_are_planned_but_refuse_to_load() -> None:
    hub = [name for name in benchmark_names() if name not in SYNTHETIC]
    assert len(hub) == 8
    for name in hub:
        with pytest.raises(InputError, match="later version"):
            get_benchmark(name).load(1, 0)


def test_bad_names_and_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="unknown benchmark"):
        get_benchmark("docvqq")
    with pytest.raises(InputError, match="max_new_tokens"):
        get_benchmark("synth-ocr", max_new_tokens=0)
    assert get_benchmark("docvqa", max_new_tokens=5).max_new_tokens == 5
