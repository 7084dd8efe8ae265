"""A hash of the code that a rule's script runs, so that editing a module reruns the rules that use it, and no others.

Snakemake sees a change of a script but not of a module that the script imports.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

PACKAGE = "sparsemm"


def code_digest(source: Path, *modules: str) -> str:
    """The hash of `modules` and of every module of the package that they import, directly or not.

    What is hashed is the parsed code without docstrings, so that comments and formatting rerun nothing.

    Args:
        source: the folder that holds the package.
        *modules: paths inside the package: a file such as "heads/scoring.py", or a folder such as "policies/" for every
            file in it, which is for code that is loaded by name and not imported.

    Returns:
        16 hexadecimal digits.

    Raises:
        FileNotFoundError: for a file or folder that is not there.
    """
    package = source / PACKAGE
    files: dict[str, str] = {}
    waiting = [file for module in modules for file in _files_of(package, module)]
    while waiting:
        module = waiting.pop()
        if module not in files:
            files[module], names = _read(module, (package / module).read_text(encoding="utf-8"))
            waiting += [file for name in names for file in _modules_of(package, name)]
    joined = "\n".join(f"{name}\n{files[name]}" for name in sorted(files))
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


def files_digest(folder: Path) -> str:
    """The hash of the files of a folder that are no Python: what a page is made of besides code."""
    found = sorted(path for path in folder.iterdir() if path.suffix in (".html", ".css", ".js"))
    if not found:
        raise FileNotFoundError(f"{folder}: a rule hashes the files of this folder but there are none")
    joined = b"\n".join(path.name.encode() + b"\n" + path.read_bytes() for path in found)
    return hashlib.sha256(joined).hexdigest()[:16]


def _files_of(package: Path, module: str) -> list[str]:
    """The file `module`, or every Python file under a folder that ends in "/"."""
    path = package / module
    files = sorted(path.rglob("*.py")) if module.endswith("/") else [path]
    if not files or not files[0].is_file():
        raise FileNotFoundError(f"{path}: a rule hashes this code but it is not there")
    return [file.relative_to(package).as_posix() for file in files]


@functools.cache
def _read(module: str, text: str) -> tuple[str, list[str]]:
    """A module's code without docstrings, and the names that it imports anywhere, inside functions too.

    Cached: most modules are part of several rules' code, and parsing is what a hash costs.
    """
    tree = ast.parse(text, module)
    names: set[str] = set()
    parents = [PACKAGE, *Path(module).with_suffix("").parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = parents[: -node.level] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            names |= {prefix} | {f"{prefix}.{alias.name}" for alias in node.names}
    return ast.dump(_without_docstrings(tree)), sorted(names)


def _modules_of(package: Path, name: str) -> list[str]:
    """Files that are run when `name` ("sparsemm.heads.scoring.score_heads") is imported."""
    parts = name.split(".")
    # The package's own __init__ only names the public API, lazily: following it would tie every rule to all code.
    if parts[0] != PACKAGE or len(parts) == 1:
        return []
    found = []
    for end in range(2, len(parts) + 1):
        inner = Path(*parts[1:end])
        for candidate in (inner.with_suffix(".py"), inner / "__init__.py"):
            if (package / candidate).is_file():
                found.append(candidate.as_posix())
    return found


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return tree
