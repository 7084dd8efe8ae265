"""The column types of a data set, checked before its first row is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from sparsemm.errors import InputError

KINDS = ("str", "int", "list[str]", "list[answer]")
_ANSWER = {"answer": "str", "answer_confidence": "str", "answer_id": "int"}


def check_columns(where: str, schema: pa.Schema, columns: Mapping[str, Sequence[str]], image: bool) -> None:
    """Check the columns that a benchmark reads; others may be there and are not looked at.

    Args:
        where: the file, as an error names it.
        schema: of the parquet file.
        columns: name -> kinds that are allowed, out of KINDS.
        image: whether an image column must be there too.

    Raises:
        InputError: for a column that is missing or of another type; both types are named.
    """
    for name, kinds in columns.items():
        found = _type(where, schema, name)
        if _kind(found) not in kinds:
            raise _changed(where, name, str(found), " or ".join(kinds))
    if image:
        found = _type(where, schema, "image")
        if not _holds_images(found):
            raise _changed(where, "image", str(found), "struct<bytes: binary, path: string>")


def plain_value(value: Any) -> Any:
    """A cell as Python has it: a struct of lists, which is how `datasets` may store a list of structs, as the list."""
    if isinstance(value, dict):
        return [dict(zip(value, each)) for each in zip(*value.values(), strict=True)]
    return value


def image_bytes(cell: Any) -> bytes:
    """The encoded bytes of an image cell; empty where there are none."""
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    return data or b""


def _type(where: str, schema: pa.Schema, name: str) -> pa.DataType:
    if name not in schema.names:
        raise InputError(
            f"{where}: no column {name!r}; it has {', '.join(schema.names)}: the data set has changed, "
            "set benchmarks.<name>.revision to the commit that you used before"
        )
    return schema.field(name).type


def _changed(where: str, name: str, found: str, wanted: str) -> InputError:
    return InputError(
        f"{where}: column {name!r} is {found}, not {wanted}: the data set has changed, "
        "set benchmarks.<name>.revision to the commit that you used before"
    )


def _kind(found: pa.DataType) -> str:
    """The kind of a type, or "" for another one."""
    if pa.types.is_dictionary(found):
        found = found.value_type
    if pa.types.is_string(found) or pa.types.is_large_string(found):
        return "str"
    if pa.types.is_integer(found):
        return "int"
    if pa.types.is_list(found) or pa.types.is_large_list(found):
        inner = found.value_type
        return "list[answer]" if _is_answer(inner) else "list[str]" if _kind(inner) == "str" else ""
    if pa.types.is_struct(found) and found.num_fields:
        lists = [found.field(index) for index in range(found.num_fields)]
        if all(pa.types.is_list(each.type) or pa.types.is_large_list(each.type) for each in lists):
            inner = pa.struct([(each.name, each.type.value_type) for each in lists])
            return "list[answer]" if _is_answer(inner) else ""
    return ""


def _is_answer(found: pa.DataType) -> bool:
    if not pa.types.is_struct(found):
        return False
    fields = [found.field(index) for index in range(found.num_fields)]
    kinds = {field.name: _kind(field.type) for field in fields}
    return all(kinds.get(name) == kind for name, kind in _ANSWER.items())


def _holds_images(found: pa.DataType) -> bool:
    if pa.types.is_struct(found):
        fields = [found.field(index) for index in range(found.num_fields)]
        return any(field.name == "bytes" and _is_binary(field.type) for field in fields)
    return _is_binary(found)


def _is_binary(found: pa.DataType) -> bool:
    return bool(pa.types.is_binary(found) or pa.types.is_large_binary(found))
