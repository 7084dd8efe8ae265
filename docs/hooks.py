"""Hooks of the site (mkdocs.yml): pages of files outside docs/, the reference from docstrings, nothing loaded.

The pages under docs/ stay as they read in the repository; what only the site has is added while it is built.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
# Files of the repository that are pages of the site, by their name there.
OUTSIDE = {"README.md": "workflow.md", "config/README.md": "configuration.md", "CHANGELOG.md": "changelog.md"}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=[\"']?(?:https?:)?//"
    r"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preload|preconnect|icon))[^>]*?\bhref=[\"']?(?:https?:)?//"
)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are files elsewhere in the repository."""
    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=relinked(text, source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead links to files outside docs/ to their pages, and add what the docstrings say to a page of the reference."""
    path = PurePosixPath(page.file.src_uri)
    if path.name in OUTSIDE.values() and len(path.parts) == 1:
        return markdown
    markdown = relinked(markdown, f"docs/{path}")
    if path.parts[0] == "api":
        markdown += f"\n## From the code\n\n::: sparsemm.{path.stem}\n"
    return markdown


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Refuse a page that loads something from another server."""
    found = _LOADED.search(output)
    if found:
        raise PluginError(f"{page.file.src_uri}: loads {found.group(0)}..., which is not in the site")
    return output


def relinked(text: str, source: str) -> str:
    """Links of a repository's file as the site has them; the text alone of a link to a file that is no page of it.

    Args:
        text: markdown.
        source: the file's path in the repository.
    """
    here = PurePosixPath(source).parent
    page = OUTSIDE.get(source, source.removeprefix("docs/"))

    def replace(found: re.Match[str]) -> str:
        mark, words, link = found.groups()
        if "://" in link or link.startswith("#"):
            return found.group(0)
        target, _, anchor = link.partition("#")
        file = _normal(here / target)
        on_site = OUTSIDE.get(file, file.removeprefix("docs/") if file.startswith("docs/") else None)
        if on_site is None:
            return words
        up = "../" * (len(PurePosixPath(page).parts) - 1)
        return f"{mark}[{words}]({up}{on_site}{'#' * bool(anchor)}{anchor})"

    return _LINK.sub(replace, text)


def _normal(path: PurePosixPath) -> str:
    """A path without "..": of "docs/../README.md", "README.md"."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
