"""Which files of a data set's repository hold a split: as its card says, else as they are usually called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from sparsemm.errors import InputError
from sparsemm.sources.lock import Source

CARD = "README.md"


def split_files(source: Source, card: str, config: str, split: str) -> list[str]:
    """The parquet files of one split, in the order of their rows.

    The card's front matter says under `configs` which files a configuration has. Where it names none for this one,
    these are tried: CONFIG/SPLIT-*.parquet, data/SPLIT-*.parquet, CONFIG/*SPLIT*.parquet, *SPLIT*.parquet at any depth,
    the split as a whole word.

    Args:
        source: the locked data set.
        card: the text of its README.md; "" without one.
        config: the data set's configuration.
        split: its split.

    Raises:
        InputError: for a configuration or split that is not there, and files that are not parquet.
    """
    where = f"dataset {source.id}, configuration {config!r}, split {split!r}"
    names = sorted(source.files)
    parts = _parts_of_card(where, card, config)
    if parts is not None:
        if split not in parts:
            raise InputError(f"{where}: the card has only {', '.join(parts) or 'none'}; correct the split")
        found = list(
            dict.fromkeys(name for glob in parts[split] for name in names if _regex(glob).fullmatch(name))
        )
        other = [name for name in found if not name.endswith(".parquet")]
        if found and not other:
            return found
        if other:
            raise InputError(f"{where}: {other[0]} is not parquet; take a revision of the data set that is")
    word = rf"(?:.*[^A-Za-z])?{re.escape(split)}(?:[^A-Za-z].*)?\.parquet"
    folder = re.escape(config)
    for pattern in (
        rf"{folder}/{re.escape(split)}-[^/]*\.parquet",
        rf"data/{re.escape(split)}-[^/]*\.parquet",
    ):
        if found := [name for name in names if re.fullmatch(pattern, name)]:
            return found
    for pattern in (rf"{folder}/{word}", word):
        if found := [name for name in names if re.fullmatch(pattern, name)]:
            return found
    if any(name.endswith(".parquet") for name in names):
        raise InputError(f"{where}: no parquet file is called so; correct the configuration or the split")
    kinds = sorted(
        {name.rpartition(".")[2] for name in names if "." in name and name not in (CARD, ".gitattributes")}
    )
    raise InputError(
        f"{where}: no parquet files but {', '.join(kinds) or 'nothing'} (a script or an archive is not read); take a "
        "mirror or a revision with parquet, such as refs/convert/parquet"
    )


def _parts_of_card(where: str, card: str, config: str) -> dict[str, list[str]] | None:
    """Split -> patterns of one configuration; None where the card leaves them open."""
    matter = re.match(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", card, flags=re.DOTALL)
    try:
        facts = yaml.safe_load(matter.group(1)) if matter else None
        configs = (facts or {}).get("configs") or []
        entry = next((each for each in configs if each.get("config_name", "default") == config), None)
        if entry is None or "data_files" not in entry:
            return None
        return _parts(entry["data_files"], str(entry.get("data_dir") or ""))
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{where}: the card's `configs` cannot be read; correct the revision") from error


def _parts(files: Any, folder: str) -> dict[str, list[str]]:
    """`data_files` in each of its forms: a pattern, patterns, entries of split and path, or a table of them."""
    if isinstance(files, str) or (isinstance(files, list) and all(isinstance(each, str) for each in files)):
        files = {"train": files}
    pairs: Iterable[tuple[Any, Any]] = (
        files.items() if isinstance(files, dict) else [(each["split"], each["path"]) for each in files]
    )
    parts: dict[str, list[str]] = {}
    for split, paths in pairs:
        listed: Sequence[str] = [paths] if isinstance(paths, str) else paths
        prefix = f"{folder.rstrip('/')}/" if folder else ""
        parts.setdefault(str(split), []).extend(prefix + path.removeprefix("./") for path in listed)
    return parts


def _regex(glob: str) -> re.Pattern[str]:
    """A pattern of paths: `*` and `?` within a folder, `**` across folders, `[...]` for one character."""
    found = ""
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^\]/]+\]|.", glob, flags=re.DOTALL):
        if token == "**/":
            found += "(?:.*/)?"
        elif token == "**":
            found += ".*"
        elif token == "*":
            found += "[^/]*"
        elif token == "?":
            found += "[^/]"
        elif len(token) > 1:
            found += "[" + token[1:-1].replace("!", "^", 1).replace("\\", "\\\\") + "]"
        else:
            found += re.escape(token)
    return re.compile(found, flags=re.DOTALL)
