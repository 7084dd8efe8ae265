"""Names of benchmarks: cheap to list, each with its file; the hub's are plans that refuse to run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sparsemm.benchmarks import Benchmark, benchmark_names, get_benchmark, score_rows, task_text
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


def test_hub_benchmarks_are_planned_but_refuse_to_run() -> None:
    assert benchmark_names()[-8:] == HUB
    for name in HUB:
        for refused in (
            lambda name=name: get_benchmark(name).load(1, 0),
            lambda name=name: task_text(name, {"question": "?"}),
            lambda name=name: score_rows(name, [{"answers": ["a"]}], ["a"]),
        ):
            with pytest.raises(InputError, match=rf"^benchmarks\.{name}: .* later version") as error:
                refused()
            assert "\n" not in str(error.value)
    whole_run = [name for name in HUB if not get_benchmark(name).rules["paper"].by_row]
    assert whole_run == ["textcaps", "mmbench"]
    assert get_benchmark("textcaps").rules["paper"].top == 10.0


def test_bad_names_and_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="unknown benchmark"):
        get_benchmark("docvqq")
    with pytest.raises(InputError, match="max_new_tokens"):
        get_benchmark("synth-ocr", max_new_tokens=0)
    assert get_benchmark("docvqa", max_new_tokens=5).max_new_tokens == 5
