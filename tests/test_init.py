"""The public names: all there, loaded on use, and never shadowed by a submodule of the same name."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

import pytest

import sparsemm


@pytest.mark.parametrize("name", sparsemm.__all__)
def test_public_names_are_there(name: str) -> None:
    value = getattr(sparsemm, name)
    assert name in dir(sparsemm)
    assert isinstance(value, ModuleType) if name == "metrics" else callable(value)


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


def test_results_and_figures_load_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "import sparsemm, sparsemm.results.parquet, sparsemm.reporting.tables, sparsemm.reporting.figures\n"
        "from sparsemm import HeadScores, InputError, metrics, stats, audit"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, sparsemm; print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_version_is_that_of_the_package() -> None:
    try:
        assert sparsemm.__version__ == version("sparsemm")
    except PackageNotFoundError:
        pytest.skip("sparsemm runs from its source tree without being installed")
