"""A fetch into a project from a hub of this machine, and what is there after it."""

from __future__ import annotations

from pathlib import Path

from helpers.hub import Hub


def online(hub: Hub, project: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(project / "home"), "HF_TOKEN": ""}


def is_cut(path: Path) -> bool:
    """Whether the hub's client left this behind when it was killed: a download, or its probe of the umask.

    It names them anew each time and never reads them again.
    """
    return path.parent.name == "blobs" and (path.suffix == ".incomplete" or path.name.startswith("tmp_"))


def fetched(project: Path) -> dict[str, bytes]:
    """Every file that a fetch made, but for the client's own notes on its files."""
    folders = ("data/benchmarks", "data/fetched", "data/synthdog-en-detection", "home/hub", "config")
    return {
        str(path.relative_to(project)): path.read_bytes().replace(str(project).encode(), b"PROJECT")
        for folder in folders
        for path in sorted((project / folder).rglob("*"))
        if path.is_file() and not {".cache", ".locks"} & set(path.parts) and not is_cut(path)
    }
