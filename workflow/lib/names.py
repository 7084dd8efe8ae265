"""The names a configuration may use, each from the library's own list. Imports neither torch nor transformers.

Snakemake reads the rules once more for every job, so that what is imported here is paid for that often.
"""

from __future__ import annotations

import ast
from pathlib import Path

import sparsemm
from sparsemm.benchmarks import benchmark_names
from sparsemm.methods import METHODS

FULL_CACHE = "fullkv"  # evaluated and timed beside every policy, at no budget


def family_names(folder: Path) -> list[str]:
    """The model families: every `name = "..."` in a class of a file of `folder`, read without importing torch."""
    found = []
    for path in sorted(folder.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8"), str(path)).body:
            if isinstance(node, ast.ClassDef):
                found += [_text(line.value) for line in node.body if _sets_name(line)]
    return found


def _sets_name(line: ast.stmt) -> bool:
    return isinstance(line, ast.Assign) and [ast.unparse(target) for target in line.targets] == ["name"]


def _text(value: ast.expr) -> str:
    return str(ast.literal_eval(value))


METHOD_NAMES = list(METHODS)
COMPRESSING = [name for name in METHOD_NAMES if name != FULL_CACHE]
FAMILY_NAMES = family_names(Path(sparsemm.__file__).parent / "families")
BENCHMARK_NAMES = benchmark_names()
