"""A rule's code digest follows the code that its script runs, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from digest import code_digest, files_digest


@pytest.fixture
def source(tmp_path: Path) -> Path:
    package = tmp_path / "sparsemm"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("from sparsemm.other import x\n")
    (package / "top.py").write_text(
        '"""Docs."""\nfrom sparsemm.inner import leaf\n\n\ndef f():\n    return leaf\n'
    )
    (package / "inner" / "__init__.py").write_text("from . import sibling\n")
    (package / "inner" / "leaf.py").write_text("def g():\n    from ..deep import VALUE\n    return VALUE\n")
    (package / "inner" / "sibling.py").write_text("S = 1\n")
    (package / "deep.py").write_text("VALUE = 1\n")
    (package / "other.py").write_text("x = 1\n")
    return tmp_path


@pytest.mark.parametrize(
    "module", ["top.py", "inner/__init__.py", "inner/leaf.py", "inner/sibling.py", "deep.py"]
)
def test_digest_changes_with_every_module_used(source: Path, module: str) -> None:
    before = code_digest(source, "top.py")
    path = source / "sparsemm" / module
    path.write_text(path.read_text() + "CHANGED = True\n")
    assert code_digest(source, "top.py") != before


def test_digest_ignores_other_modules_comments_and_docstrings(source: Path) -> None:
    before = code_digest(source, "top.py")
    (source / "sparsemm" / "other.py").write_text("x = 2\n")
    top = source / "sparsemm" / "top.py"
    top.write_text(top.read_text().replace("Docs.", "Other docs.") + "# a comment\n")
    assert code_digest(source, "top.py") == before


def test_folder_stands_for_every_file_in_it_and_what_they_import(source: Path) -> None:
    folder = source / "sparsemm" / "inner"
    found = {code_digest(source, "inner/")}
    # deep.py is outside the folder and imported by a file in it.
    for path in (folder / "sibling.py", folder / "leaf.py", source / "sparsemm" / "deep.py"):
        path.write_text(path.read_text() + "CHANGED = True\n")
        found.add(code_digest(source, "inner/"))
    (folder / "new.py").write_text("NEW = 1\n")
    found.add(code_digest(source, "inner/"))
    (folder / "below").mkdir()
    (folder / "below" / "newer.py").write_text("NEW = 1\n")
    found.add(code_digest(source, "inner/"))
    assert len(found) == 6
    (source / "sparsemm" / "top.py").write_text("x = 2\n")
    assert code_digest(source, "inner/") in found


@pytest.mark.parametrize("module", ["gone.py", "gone/"])
def test_missing_code_is_named(source: Path, module: str) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        code_digest(source, module)


def test_files_that_are_no_code_have_a_digest_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there are none"):
        files_digest(tmp_path)
    for name in ("page.html", "page.css", "page.js"):
        before = files_digest(tmp_path) if list(tmp_path.iterdir()) else ""
        (tmp_path / name).write_text("a\n")
        assert files_digest(tmp_path) != before
    before = files_digest(tmp_path)
    (tmp_path / "page.py").write_text("x = 1\n")
    assert files_digest(tmp_path) == before
    (tmp_path / "page.css").write_text("b\n")
    assert files_digest(tmp_path) != before
