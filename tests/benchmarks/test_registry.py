"""Names of benchmarks: cheap to list, each with its file and both rule sets."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sparsemm.benchmarks import Benchmark, benchmark_names, get_benchmark
from sparsemm.errors import InputError

HUB = ["docvqa", "ocrbench", "textvqa", "chartqa", "textcaps", "mmbench", "gqa", "vqav2"]


def test_listing_names_imports_no_benchmark_and_nothing_heavy() -> None:
    code = (
        "import sys; from sparsemm.benchmarks import benchmark_names; assert benchmark_names()\n"
        "heavy = ('torch', 'transformers', 'numpy', 'PIL', 'rapidfuzz')\n"
        "print([m for m in sys.modules if m in heavy or m.startswith('sparsemm.benchmarks.synth')])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", benchmark_names())
def test_every_name_is_a_benchmark_of_that_name_with_both_rule_sets(name: str) -> None:
    benchmark = get_benchmark(name)
    assert isinstance(benchmark, Benchmark)
    assert benchmark.name == name
    assert set(benchmark.rules) == {"paper", "current"}


def test_the_paper_s_eight_come_from_the_hub_and_two_of_them_are_scored_as_a_whole() -> None:
    assert benchmark_names()[-8:] == HUB
    for rules in ("paper", "current"):
        whole_run = [name for name in HUB if not get_benchmark(name).rules[rules].by_row]
        assert whole_run == ["textcaps", "mmbench"]
        assert get_benchmark("textcaps").rules[rules].top == 10.0


def test_bad_names_and_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="unknown benchmark"):
        get_benchmark("docvqq")
    with pytest.raises(InputError, match="max_new_tokens"):
        get_benchmark("synth-ocr", max_new_tokens=0)
    assert get_benchmark("docvqa", max_new_tokens=5).generation("").max_new_tokens == 5
    assert get_benchmark("synth-ocr", max_new_tokens=5).generation("qwen2_vl") == (5, ())


def test_a_drawn_benchmark_has_no_hub_and_no_folder() -> None:
    for key in ("hub", "folder"):
        with pytest.raises(InputError, match=rf"^benchmarks\.synth-ocr\.{key}: .*leave the key out"):
            get_benchmark("synth-ocr", **{key: "a/b"})  # type: ignore[arg-type]
