"""The files of a split: by the card in each of its forms, else by their usual names."""

from __future__ import annotations

import pytest

from sparsemm.errors import InputError
from sparsemm.sources.lock import LockedFile, Source
from sparsemm.sources.splits import split_files

CARD = """---
license: mit
configs:
{configs}
---
# A data set
"""
FILES = [
    "README.md",
    "en/dev-00000-of-00002.parquet",
    "en/dev-00001-of-00002.parquet",
    "en/test-00000-of-00001.parquet",
    "cn/dev-00000-of-00001.parquet",
]


def found(files: list[str], card: str, config: str, split: str) -> list[str]:
    source = Source(
        "dataset", "some/set", "main", "c" * 40, {name: LockedFile(1, git_sha1="0") for name in files}
    )
    return split_files(source, card, config, split)


@pytest.mark.parametrize(
    "configs",
    [
        "- config_name: en\n  data_files:\n  - split: dev\n    path: en/dev-*\n  - split: test\n    path: en/test-*",
        "- config_name: cn\n  data_files: cn/*\n- config_name: en\n  data_files:\n  - {split: dev, path: [en/dev-*]}",
        "- config_name: en\n  data_dir: en\n  data_files:\n    dev: 'dev-*.parquet'",
        "- config_name: en\n  data_dir: en\n  data_files: [{split: dev, path: '**/dev-0000[01]-of-0000?.parquet'}]",
        "- config_name: en\n  data_files:\n  - {split: dev, path: [./en/dev-00000*, en/dev-00001*, en/dev-*]}",
    ],
)
def test_the_card_names_the_files(configs: str) -> None:
    card = CARD.format(configs=configs)
    for text in (card, card.replace("\n", "\r\n")):
        assert found(FILES, text, "en", "dev") == FILES[1:3]


def test_a_star_stays_in_its_folder() -> None:
    card = CARD.format(configs="- config_name: default\n  data_files: [{split: test, path: 'data/*'}]")
    files = ["data/a.parquet", "data/deep/b.parquet", "data/c.parquet"]
    assert found(files, card, "default", "test") == ["data/a.parquet", "data/c.parquet"]


def test_patterns_alone_are_the_split_train() -> None:
    card = CARD.format(configs="- config_name: default\n  data_files: data/*.parquet")
    assert found(["data/x.parquet"], card, "default", "train") == ["data/x.parquet"]
    with pytest.raises(InputError, match="the card has only train; correct the split"):
        found(["data/x.parquet"], card, "default", "test")


@pytest.mark.parametrize(
    "card",
    ["", "# no front matter", "---\nlicense: mit\n---\n", "---\nconfigs:\n- config_name: other\n---\n"],
)
@pytest.mark.parametrize(
    ("files", "config", "split", "wanted"),
    [
        (FILES, "en", "dev", FILES[1:3]),
        (["data/test-0.parquet", "data/train-0.parquet"], "default", "test", ["data/test-0.parquet"]),
        (["data/test-0.parquet", "en/test-0.parquet"], "en", "test", ["en/test-0.parquet"]),
        (
            ["en/part.validation.parquet", "cn/validation.parquet"],
            "en",
            "validation",
            ["en/part.validation.parquet"],
        ),
        (["validation.parquet", "latest.parquet"], "default", "validation", ["validation.parquet"]),
        (["latest.parquet", "deep/my_test_1.parquet"], "default", "test", ["deep/my_test_1.parquet"]),
        (
            ["test/0001.parquet", "test/0000.parquet"],
            "default",
            "test",
            ["test/0000.parquet", "test/0001.parquet"],
        ),
    ],
)
def test_without_a_card_usual_names_are_tried(
    card: str, files: list[str], config: str, split: str, wanted: list[str]
) -> None:
    assert found(files, card, config, split) == wanted


@pytest.mark.parametrize(
    ("files", "configs", "line"),
    [
        (
            ["script.py", "images.zip", "README.md"],
            "",
            r"no parquet files but py, zip \(a script or an archive is not read\)",
        ),
        (
            ["data/train-0.parquet"],
            "",
            "no parquet file is called so; correct the configuration or the split",
        ),
        (["README.md"], "", "no parquet files but nothing"),
        (
            ["a.jsonl"],
            "- config_name: default\n  data_files: [{split: test, path: a.jsonl}]",
            "a.jsonl is not parquet",
        ),
        (
            ["x.parquet"],
            "- config_name: default\n  data_files: [{split: dev, path: x.parquet}]",
            "the card has only dev",
        ),
        (
            ["x.parquet"],
            "- config_name: default\n  data_files: [{split: test}]",
            "the card's `configs` cannot be read",
        ),
        (["x.parquet"], "- \t", "the card's `configs` cannot be read"),
    ],
)
def test_what_cannot_be_read_is_one_line(files: list[str], configs: str, line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        found(files, CARD.format(configs=configs), "default", "test")
    assert str(caught.value).startswith("dataset some/set, configuration 'default', split 'test': ")
    assert "\n" not in str(caught.value)
