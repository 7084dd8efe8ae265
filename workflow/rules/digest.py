"""A hash of the code that a rule's script runs, so that editing a module reruns the rules that use it, and no others.

Snakemake sees a change of a script but not of a module that the script imports.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

PACKAGE = "sparsemm"


def code_digest(source: Path, *modules: str) -> str:
    """16 hex digits over `modules` and every module of the package that they import, directly or not.

    source: the folder that holds the package. modules: paths inside the package, such as "scoring.py". What is hashed
    is the parsed code without docstrings, so that comments and formatting rerun nothing.
    """
    files: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in files:
            continue
        path = source / PACKAGE / module
        if not path.is_file():
            raise FileNotFoundError(f"{path}: a rule hashes this module but it is not there")
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        # Imports before docstrings go: both only read the tree.
        waiting += _imported(source, module, tree)
        files[module] = ast.dump(_without_docstrings(tree))
    joined = "\n".join(f"{name}\n{files[name]}" for name in sorted(files))
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


def _imported(source: Path, module: str, tree: ast.Module) -> list[str]:
    """Files of the package that `tree`, the code of `module`, imports anywhere, inside functions too."""
    names: set[str] = set()
    parents = [PACKAGE, *Path(module).with_suffix("").parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = parents[: -node.level] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            names |= {prefix} | {f"{prefix}.{alias.name}" for alias in node.names}
    found: list[str] = []
    for name in sorted(names):
        parts = name.split(".")
        # The package's own __init__ only names the public API, lazily: following it would tie every rule to all code.
        if parts[0] != PACKAGE or len(parts) == 1:
            continue
        for end in range(2, len(parts) + 1):
            inner = Path(*parts[1:end])
            for candidate in (inner.with_suffix(".py"), inner / "__init__.py"):
                if (source / PACKAGE / candidate).is_file():
                    found.append(candidate.as_posix())
    return found


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return tree
