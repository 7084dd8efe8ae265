"""Repositories of tiny data sets with the true columns of the paper's eight, their cards, and the probe set."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from sparsemm.heads.probe import generate_probe
from sparsemm.heads.synthdog import write_synthdog

from helpers.hub import Repository

TEXT, NUMBER, SMALL = pa.string(), pa.int64(), pa.int32()
TEXTS = pa.list_(TEXT)
IMAGE = pa.struct([("bytes", pa.binary()), ("path", TEXT)])
ANSWERS = pa.list_(pa.struct([("answer", TEXT), ("answer_confidence", TEXT), ("answer_id", NUMBER)]))
ROWS = 8  # of a split
SIZES = [(320, 240), (300, 400), (448, 336), (224, 224)]  # px, width and height
WORDS = ["total", "42", "Ada", "blue", "cat", "7.5", "yes", "B"]

Columns = dict[str, tuple[pa.DataType, list[Any]]]


def picture(seed: int) -> bytes:
    """A page with a few words, as PNG."""
    image = Image.new("RGB", SIZES[seed % len(SIZES)], (255, 255, 250 - seed % 200))
    draw = ImageDraw.Draw(image)
    for line in range(4):
        draw.text(
            (12 + 8 * line, 20 + 40 * line),
            f"{WORDS[(seed + line) % len(WORDS)]} {seed}",
            fill=(0, 0, 90),
            font_size=24,
        )
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def parquet(columns: Columns) -> bytes:
    """A parquet file as `datasets` writes it, its features in the schema's metadata; image cells are given as bytes."""
    filled, fields, features = [], [], {}
    for name, (kind, values) in columns.items():
        cells = [{"bytes": value, "path": None} for value in values] if kind == IMAGE else values
        filled.append(pa.array(cells, kind))
        fields.append(pa.field(name, kind))
        features[name] = _feature(kind)
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    stream = io.BytesIO()
    pq.write_table(pa.table(filled, schema=pa.schema(fields, metadata=metadata)), stream, row_group_size=3)
    return stream.getvalue()


def _feature(kind: pa.DataType) -> Any:
    if kind == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": _feature(kind.value_type)}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    return {"_type": "Value", "dtype": str(kind)}


def card(configs: dict[str, dict[str, str]]) -> bytes:
    """A README.md that says which files each configuration's splits have."""
    lines = ["---", "license: apache-2.0", "configs:"]
    for name, splits in configs.items():
        lines += [f"- config_name: {name}", "  data_files:"]
        for split, path in splits.items():
            lines += [f"  - split: {split}", f"    path: {path}"]
    return "\n".join([*lines, "---", "", "# Made up for tests", ""]).encode()


def repository(name: str, columns: Columns, config: str, split: str, folder: str = "data") -> Repository:
    """A data set whose split is in two files, with a split and a configuration beside it that nobody needs."""
    half = ROWS // 2
    first = {key: (kind, values[:half]) for key, (kind, values) in columns.items()}
    second = {key: (kind, values[half:]) for key, (kind, values) in columns.items()}
    files = {
        f"{folder}/{split}-00000-of-00002.parquet": parquet(first),
        f"{folder}/{split}-00001-of-00002.parquet": parquet(second),
        f"{folder}/train-00000-of-00001.parquet": b"never wanted",
        "other/train-00000-of-00001.parquet": b"never wanted",
        ".gitattributes": b"*.parquet filter=lfs\n",
    }
    parts = {
        config: {"train": f"{folder}/train-*", split: f"{folder}/{split}-*"},
        "other": {"train": "other/train-*"},
    }
    return Repository("dataset", name, {**files, "README.md": card(parts)})


def _each(make: Any) -> list[Any]:
    return [make(row) for row in range(ROWS)]


def _common(images: int = ROWS) -> Columns:
    """Question and image; the first rows share an image where there are fewer images than rows."""
    return {
        "question": (TEXT, _each(lambda row: f"What is written in line {row % 4}?")),
        "image": (IMAGE, _each(lambda row: picture(row * images // ROWS))),
    }


def _word(row: int) -> str:
    return WORDS[row % len(WORDS)]


def docvqa() -> Repository:
    columns: Columns = {
        "questionId": (TEXT, _each(lambda row: str(49150 + row))),
        **_common(images=4),
        "question_types": (TEXTS, _each(lambda row: ["layout"])),
        "docId": (NUMBER, _each(lambda row: 14000 + row // 2)),
        "answers": (TEXTS, _each(lambda row: [_word(row), _word(row).upper()])),
    }
    return repository("lmms-lab/DocVQA", columns, "DocVQA", "validation", "DocVQA")


def ocrbench() -> Repository:
    sets = ["IIIT5K", "HME100k", "textVQA", "SROIE"]
    columns: Columns = {
        "dataset": (TEXT, _each(lambda row: sets[row % 4])),
        **_common(),
        "question_type": (TEXT, _each(lambda row: "Regular Text Recognition")),
        "answer": (TEXTS, _each(lambda row: [_word(row)])),
    }
    return repository("echo840/OCRBench", columns, "default", "test")


def textvqa() -> Repository:
    columns: Columns = {
        "image_id": (TEXT, _each(lambda row: f"img{row // 2}")),
        "question_id": (SMALL, _each(lambda row: 34602 + row)),
        **_common(images=4),
        "ocr_tokens": (TEXTS, _each(lambda row: [_word(row)])),
        "answers": (TEXTS, _each(lambda row: [_word(row)] * 7 + ["nothing"] * 3)),
    }
    return repository("lmms-lab/textvqa", columns, "default", "validation")


def chartqa() -> Repository:
    columns: Columns = {
        "type": (TEXT, _each(lambda row: "human_test" if row % 2 else "augmented_test")),
        **_common(),
        "answer": (TEXT, _each(lambda row: ["14", "0.57", "Yes", "12.5%"][row % 4])),
    }
    return repository("lmms-lab/ChartQA", columns, "default", "test")


def textcaps() -> Repository:
    columns: Columns = {
        "question_id": (TEXT, _each(str)),
        **_common(),
        "image_id": (TEXT, _each(lambda row: f"img{row}")),
        "caption_str": (
            TEXTS,
            _each(lambda row: [f"A page that says {_word(row)} in line {n}." for n in range(5)]),
        ),
    }
    return repository("lmms-lab/TextCaps", columns, "default", "val")


def mmbench() -> Repository:
    """Questions of two rotations each; the third option is absent in every other question."""
    turn = 1_000_000
    columns: Columns = {
        "index": (NUMBER, _each(lambda row: 241 + row // 2 + turn * (row % 2))),
        **_common(images=4),
        "hint": (TEXT, _each(lambda row: "Read the page." if row < 2 else "nan")),
        "answer": (TEXT, _each(lambda row: "AB"[row % 2])),
        "A": (TEXT, _each(lambda row: ["blue", "red"][row % 2])),
        "B": (TEXT, _each(lambda row: ["red", "blue"][row % 2])),
        "C": (TEXT, _each(lambda row: "nan" if row // 2 % 2 else "green")),
        "D": (TEXT, _each(lambda row: "nan")),
        "category": (TEXT, _each(lambda row: "ocr")),
        "source": (TEXT, _each(lambda row: "made up")),
        "L2-category": (TEXT, _each(lambda row: "finegrained_perception")),
        "comment": (TEXT, _each(lambda row: "nan")),
        "split": (TEXT, _each(lambda row: "dev")),
    }
    return repository("lmms-lab/MMBench", columns, "en", "dev", "en")


def gqa() -> Repository:
    """Questions and images in two configurations."""
    names = [f"n{500 + number}" for number in range(4)]
    questions: Columns = {
        "id": (TEXT, _each(lambda row: f"2{row:08d}")),
        "imageId": (TEXT, _each(lambda row: names[row * 3 % 4])),
        "question": (TEXT, _each(lambda row: "Is it blue?")),
        "answer": (TEXT, _each(lambda row: "yes" if row % 2 else "no")),
        "fullAnswer": (TEXT, _each(lambda row: "It is.")),
        "isBalanced": (pa.bool_(), _each(lambda row: True)),
    }
    pictures: Columns = {
        "id": (TEXT, names),
        "image": (IMAGE, [picture(number) for number in range(4)]),
    }
    configs = ("testdev_balanced_instructions", "testdev_balanced_images")
    files = {
        f"{name}/testdev-00000-of-00001.parquet": parquet(part)
        for name, part in zip(configs, (questions, pictures))
    }
    files["train_all_images/train-00000-of-00001.parquet"] = b"never wanted"
    parts = {name: {"testdev": f"{name}/testdev-*"} for name in configs}
    parts["train_all_images"] = {"train": "train_all_images/train-*"}
    return Repository("dataset", "lmms-lab/GQA", {**files, "README.md": card(parts)})


def vqav2() -> Repository:
    def answers(row: int) -> list[dict[str, Any]]:
        said = [_word(row)] * 6 + ["nothing"] * 4
        return [
            {"answer": text, "answer_confidence": "yes" if number % 3 else "maybe", "answer_id": number + 1}
            for number, text in enumerate(said)
        ]

    columns: Columns = {
        "question_type": (TEXT, _each(lambda row: "what is")),
        "multiple_choice_answer": (TEXT, _each(_word)),
        "answers": (ANSWERS, _each(answers)),
        "image_id": (NUMBER, _each(lambda row: 262148 + row // 2)),
        "answer_type": (TEXT, _each(lambda row: "other")),
        "question_id": (NUMBER, _each(lambda row: 262148000 + row)),
        **_common(images=4),
    }
    return repository("lmms-lab/VQAv2", columns, "default", "validation")


def synthdog(images: int = 6) -> Repository:
    """The probe set, with coordinates as floats, in two files."""
    probe = generate_probe(images, seed=11)
    files = {}
    with TemporaryDirectory() as folder:
        for number, part in enumerate((probe[: images // 2], probe[images // 2 :])):
            path = Path(folder) / "part.parquet"
            write_synthdog(path, part)
            files[f"data/train-0000{number}-of-00002.parquet"] = path.read_bytes()
    files["data/validation-00000-of-00001.parquet"] = b"never wanted"
    parts = {"default": {"train": "data/train-*", "validation": "data/validation-*"}}
    return Repository("dataset", "nnethercott/synthdog-en-detection", {**files, "README.md": card(parts)})


@cache
def data_sets() -> tuple[Repository, ...]:
    """The eight data sets and the probe set, by their ids of the paper configuration."""
    eight = (docvqa(), ocrbench(), textvqa(), chartqa(), textcaps(), mmbench(), gqa(), vqav2())
    return (*eight, synthdog())
