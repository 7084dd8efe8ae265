"""The public names: all there, loaded on use, hidden by no submodule; and what works without torch and transformers."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

import pytest

import sparsemm

# Names that other programs take from a subpackage.
EXPORTS = {
    "budget": ("allocate", "allocate_array", "audit"),
    "heads": (
        *("HeadScores", "ProbeImage", "generate_probe", "match_pieces", "read_probe", "read_synthdog"),
        *("score_heads", "write_probe"),
    ),
    "metrics": (
        *("anls", "cider", "contains_accuracy", "relaxed_accuracy", "vqa_accuracy", "vqav2_accuracy"),
    ),
    "models": (
        *("ImageLimits", "Loaded", "ModelShape", "build_inputs", "image_limits", "limits_note", "load_model"),
        *("load_processor", "mask_heads", "shape"),
    ),
}
WITHOUT_TORCH = ("budget", "documents", "methods", "metrics", "reporting", "results")


def run(code: str, *arguments: str) -> str:
    """What the code prints in a process of its own."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", sparsemm.__all__)
def test_public_names_are_there(name: str) -> None:
    value = getattr(sparsemm, name)
    assert name in dir(sparsemm)
    assert isinstance(value, ModuleType) if name == "metrics" else callable(value)


@pytest.mark.parametrize(("package", "names"), EXPORTS.items(), ids=EXPORTS)
def test_names_of_a_subpackage_are_there(package: str, names: tuple[str, ...]) -> None:
    module = importlib.import_module(f"sparsemm.{package}")
    assert getattr(sparsemm, package) is module
    for name in {*names, *getattr(module, "__all__", ())}:
        value = getattr(module, name)
        assert callable(value)
        assert inspect.getdoc(value), f"sparsemm.{package}.{name} has no docstring"
        if name in sparsemm.__all__:
            assert value is getattr(sparsemm, name)
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = module.nothing_of_the_kind


def test_a_submodule_does_not_hide_the_function_of_its_name() -> None:
    module = importlib.import_module("sparsemm.generation.compress")
    assert sparsemm.compress is module.compress
    from sparsemm import compress

    assert compress is module.compress


def test_submodules_and_unknown_names() -> None:
    assert sparsemm.budget.allocate is sparsemm.allocate
    with pytest.raises(AttributeError, match="no attribute 'alocate'"):
        _ = sparsemm.alocate
    with pytest.raises(ImportError):
        from sparsemm import nothing_of_the_kind  # noqa: F401


BLOCKED = """
import importlib, pkgutil, sys
sys.modules["torch"] = sys.modules["transformers"] = None
import sparsemm
from sparsemm import HeadScores, InputError, audit, metrics, stats

for name in sys.argv[1:]:
    package = importlib.import_module(f"sparsemm.{name}")
    count = 1
    for found in pkgutil.walk_packages(getattr(package, "__path__", []), f"sparsemm.{name}."):
        importlib.import_module(found.name)
        count += 1
    print(name, count)

assert len(audit([[0.5, 0.5]], [64], [100])) == 6
assert metrics.anls("a", ["a"]) == 1.0
"""


def test_results_budgets_and_figures_need_neither_torch_nor_transformers() -> None:
    """Every module of these packages is imported with both blocked, and an audit and a metric are computed."""
    counts = dict(line.split() for line in run(BLOCKED, *WITHOUT_TORCH).splitlines())
    assert tuple(counts) == WITHOUT_TORCH
    assert int(counts["reporting"]) > 5
    assert int(counts["results"]) > 3
    assert int(counts["documents"]) > 2


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, sparsemm; print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    assert run(code) == "[]"


def test_version_is_that_of_the_package() -> None:
    try:
        assert sparsemm.__version__ == version("sparsemm")
    except PackageNotFoundError:
        pytest.skip("sparsemm runs from its source tree without being installed")
