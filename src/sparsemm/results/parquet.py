"""Result files: parquet with one schema per kind, written atomically, with metadata on how they were made.

The same rows and metadata give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sparsemm.errors import InputError
from sparsemm.results.files import atomic_write
from sparsemm.results.provenance import jsonable
from sparsemm.results.schemas import KEYS, MAY_BE_EMPTY, SCHEMAS

_METADATA_KEY = b"sparsemm"


def write_table(
    path: str | Path, frame: pd.DataFrame | pa.Table, kind: str, metadata: Mapping[str, Any]
) -> None:
    """Write a result file of `kind`. Columns are checked and cast to the schema, rows are sorted by key.

    Args:
        metadata: stored in the file; JSON-able (see `provenance`).

    Raises:
        InputError: a missing, unknown or wrong column, an empty value, a repeated key, or a folder that cannot be
            written; file and column are named, and no file is left.
    """
    table = _cast(frame, kind, path).sort_by([(name, "ascending") for name in KEYS[kind]]).combine_chunks()
    _check_unique(table, kind, path)
    table = with_metadata(table, {**metadata, "kind": kind})
    with atomic_write(path) as partial:
        pq.write_table(table, partial, compression="zstd", version="2.6", data_page_version="1.0")


def read_table(
    path: str | Path, kind: str | None = None, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """The rows of a result file, in key order; list columns hold Python lists.

    Args:
        kind: what the file must be; None takes any kind.
        columns: read these only.

    Raises:
        InputError: a file that is missing, truncated, of another kind or schema, or with empty values.
    """
    found = read_metadata(path).get("kind")
    kind = kind or found
    if kind not in SCHEMAS:
        raise InputError(f"{path}: no result file of a known kind ({kind}); choose from {', '.join(SCHEMAS)}")
    if found != kind:
        raise InputError(f"{path}: holds {found or 'no known kind'}, not {kind}; give a {kind} file")
    wanted = [SCHEMAS[kind].field(name) for name in columns or SCHEMAS[kind].names]
    table = _read(path, [field.name for field in wanted])
    for field in wanted:
        if field.name not in table.schema.names:
            raise InputError(f"{path}: column {field.name} is missing; make the {kind} file again")
        if table.schema.field(field.name).type != field.type:
            raise InputError(
                f"{path}: column {field.name} is {table.schema.field(field.name).type}, not {field.type}; "
                f"make the {kind} file again"
            )
        _check_values(table[field.name], field, kind, path)
    scalars = [field.name for field in wanted if not pa.types.is_list(field.type)]
    frame: pd.DataFrame = table.select(scalars).to_pandas()
    for field in wanted:
        if field.name not in scalars:
            frame[field.name] = pd.Series(table[field.name].to_pylist(), dtype=object, index=frame.index)
    return frame[[field.name for field in wanted]]


def with_metadata(table: pa.Table, metadata: Mapping[str, Any]) -> pa.Table:
    """A table that says how it was made; `metadata` is JSON-able and has the file's kind."""
    text = json.dumps(metadata, sort_keys=True, default=jsonable)
    return table.replace_schema_metadata({_METADATA_KEY: text.encode()})


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata of a result file.

    Raises:
        InputError: a file that is missing, truncated or not written by this package.
    """
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    return _metadata(schema, path)


def _cast(frame: pd.DataFrame | pa.Table, kind: str, path: str | Path) -> pa.Table:
    """`frame` cast to the schema of its kind; InputError as in `write_table`."""
    if kind not in SCHEMAS:
        raise InputError(f"{path}: unknown kind of result {kind!r}; choose from {', '.join(SCHEMAS)}")
    schema = SCHEMAS[kind]
    names = list(frame.column_names if isinstance(frame, pa.Table) else frame.columns)
    missing = [name for name in schema.names if name not in names]
    surplus = [str(name) for name in names if name not in schema.names]
    if missing or surplus:
        fault = f"column {missing[0]} is missing" if missing else f"column {surplus[0]} is not in the schema"
        raise InputError(f"{path}: {fault}; {kind} has {', '.join(schema.names)}")
    columns = []
    for field in schema:
        try:
            if isinstance(frame, pa.Table):
                column = frame[field.name].cast(field.type)
            else:
                values = frame[field.name]
                if pa.types.is_list(field.type):  # arrow reads no nested arrays, only lists
                    values = [_lists(value) for value in values]
                column = pa.chunked_array([pa.array(values, field.type, from_pandas=True)])
        except (pa.ArrowException, TypeError, ValueError) as error:
            fault = f"does not hold {field.type} ({_first_line(error)})"
            raise InputError(f"{path}: column {field.name} {fault}; give values of that type") from error
        _check_values(column, field, kind, path)
        columns.append(column)
    return pa.table(columns, schema=schema)


def _check_values(column: pa.ChunkedArray, field: pa.Field, kind: str, path: str | Path) -> None:
    """Raise InputError if a column that must be full has empty or NaN values."""
    if field.name in MAY_BE_EMPTY.get(kind, ()):
        return
    empty = column.null_count
    if pa.types.is_floating(field.type):
        empty += pc.sum(pc.is_nan(column)).as_py() or 0
    if empty:
        raise InputError(f"{path}: column {field.name} has {empty} empty or NaN values; every row needs one")


def _check_unique(table: pa.Table, kind: str, path: str | Path) -> None:
    """Raise InputError if two rows have the same key."""
    keys = list(KEYS[kind])
    distinct = table.select(keys).group_by(keys).aggregate([]).num_rows
    if distinct != table.num_rows:
        fault = f"{table.num_rows - distinct} rows repeat another's {', '.join(keys)}"
        raise InputError(f"{path}: {fault}; {kind} has one row for each")


def _read(path: str | Path, columns: Sequence[str]) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, error: Exception) -> InputError:
    if not Path(path).exists():
        return InputError(f"{path}: result file is missing; run the stage that makes it")
    return InputError(
        f"{path}: truncated or no parquet file ({_first_line(error)}); delete it and make it again"
    )


def _metadata(schema: pa.Schema, path: str | Path) -> dict[str, Any]:
    try:
        found = json.loads((schema.metadata or {})[_METADATA_KEY])
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: no result file of sparsemm; give one that this program wrote") from error
    return dict(found)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _lists(value: Any) -> Any:
    """Nested arrays and tuples as nested lists, which is what arrow reads."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, str):  # arrow would store its characters as items
        raise ValueError(f"{value!r} is no list")
    return (
        [item if isinstance(item, str) else _lists(item) for item in value]
        if isinstance(value, list | tuple)
        else value
    )
