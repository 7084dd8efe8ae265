"""What is fetched of a repository: one split of a data set, the files that a model needs."""

from __future__ import annotations

import glob
import json
from pathlib import Path

from sparsemm.errors import InputError
from sparsemm.results.files import atomic_write
from sparsemm.sources.hub import fetch
from sparsemm.sources.lock import Source
from sparsemm.sources.splits import CARD, split_files

MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.json",
    "chat_template.jinja",
)
MODEL_MARKER = "data/fetched/models/{model}.json"  # where a model was fetched to
PROBE_MARKER = "data/fetched/probe.json"
ORIGIN = "source.json"  # in a folder of data that were fetched, and are not the user's own copy
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"


def fetch_split(
    source: Source, config: str, split: str, folder: str | Path, rows: int | None = None
) -> list[str]:
    """Fetch the card and the parquet files of one split, as they are, under their paths in the repository.

    Args:
        source: the locked data set.
        config: its configuration.
        split: its split.
        folder: where the files go.
        rows: how many of the first rows are needed: files after them stay on the hub. None: all.

    Returns:
        The parquet files by their paths in the folder, in the order of their rows.

    Raises:
        InputError: as `split_files` and `fetch`.
    """
    card = ""
    if CARD in source.files:
        card = (fetch(source, [CARD], folder) / CARD).read_text(encoding="utf-8", errors="replace")
    names = split_files(source, card, config, split)
    if rows is None:
        fetch(source, [glob.escape(name) for name in names], folder)
        return names
    for index, name in enumerate(names, 1):
        rows -= _rows_of(fetch(source, [glob.escape(name)], folder) / name)
        if rows <= 0:
            return names[:index]
    return names


def fetch_model(source: Source, family: str) -> Path:
    """Fetch a model's configuration, processor, tokenizer and safetensors weights into the hub's own cache.

    Args:
        source: the locked model.
        family: what its `model_type` must be; looked at before the weights are fetched.

    Returns:
        Its folder in the cache.

    Raises:
        InputError: for a model of another family or without safetensors weights, and as `fetch`.
    """
    there = [name for name in MODEL_FILES if name in source.files]
    if "config.json" not in there:
        raise InputError(f"model {source.id}: no config.json; it is no transformers model: correct the id")
    folder = fetch(source, there)
    check_family(folder, family, f"model {source.id}")
    if _INDEX in source.files:
        fetch(source, [_INDEX])
        try:
            weights = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"model {source.id}: {_INDEX} is no index of weights; correct the revision"
            ) from error
        names = sorted(set(weights))
    elif _WEIGHTS in source.files:
        names = [_WEIGHTS]
    else:
        raise InputError(
            f"model {source.id}: no safetensors weights, and no others are read; take a revision that has them"
        )
    wrong = [name for name in names if not name.endswith(".safetensors")]
    if wrong:
        raise InputError(f"model {source.id}: {wrong[0]} is not safetensors, and no other weights are read")
    return fetch(source, [glob.escape(name) for name in names])


def fetch_probe(source: Source, split: str, folder: str | Path, images: int) -> Path:
    """Fetch the parquet files that hold the first images of a probe set's split.

    Returns:
        Their folder.

    Raises:
        InputError: as `fetch_split`.
    """
    write_marker(Path(folder) / ORIGIN, source, Path(folder))
    fetch_split(source, "default", split, folder, rows=images)
    return Path(folder)


def is_own_copy(folder: str | Path) -> bool:
    """Whether a folder of data is the user's own: there, and not made by a fetch."""
    return Path(folder).is_dir() and not (Path(folder) / ORIGIN).is_file()


def check_family(folder: Path, family: str, what: str) -> None:
    """Raise InputError if a model's folder has a config.json of another family.

    Args:
        folder: of the model.
        family: what `model_type` must be.
        what: the model, as the error names it.
    """
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # loading says what is wrong with it
    if found != family:
        raise InputError(
            f"{what}: its model_type is {found!r}, the configuration says family {family!r}; correct the one or the "
            "other"
        )


def write_marker(path: str | Path, source: Source, folder: Path) -> None:
    """Write where a source was fetched to: `read_marker` and Snakemake look at it."""
    facts = {"id": source.id, "commit": source.commit, "folder": str(folder)}
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def read_marker(path: str | Path) -> dict[str, str]:
    """Id, commit and folder of a fetched source.

    Raises:
        InputError: for a file that is no marker, or a folder that is gone.
    """
    try:
        facts = json.loads(Path(path).read_text(encoding="utf-8"))
        found = {key: str(facts[key]) for key in ("id", "commit", "folder")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not readable; delete it and run `snakemake fetch`") from error
    if not Path(found["folder"]).is_dir():
        raise InputError(f"{path}: its folder {found['folder']} is gone; delete it and run `snakemake fetch`")
    return found


def _rows_of(path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a parquet file; correct the revision") from error
