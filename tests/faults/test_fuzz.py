"""Random labels, configurations and command lines: an error of ours in one line, or nothing wrong at all."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparsemm import make_policy
from sparsemm.cli.__main__ import main
from sparsemm.errors import InputError
from sparsemm.methods import METHODS

import checks
from project import ROOT
from values import ConfigError

LONGEST = 600  # characters of an error line
DEFAULT: dict[str, Any] = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
# Pieces of labels that are nearly right, and text that is not.
PIECES = st.one_of(
    st.sampled_from(
        [*METHODS, "@", "[", "]", "=", ",", "rho", "window_attention", "key_norm", "0.1", "nan", "1e999"]
    ),
    st.text(max_size=8),
)


def one_line(error: Exception) -> None:
    line = str(error)
    assert line
    assert "\n" not in line
    assert len(line) <= LONGEST, f"{len(line)} characters: {line[:200]}"


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=8).map("".join))
@example("x" * 10**6)
@example("sparsemm[" * 1000)
@example("sparsemm[rho=" + "9" * 5000 + "]")
@example("snapkv@" + "a" * 10**5)
@example("sparsemm[scores=/etc/passwd]")
@example("sparsemm\n")
def test_any_text_is_a_policy_or_an_error_of_one_line(label: str) -> None:
    try:
        make_policy(label, budget=16, window=8, scores=[[0.5, 0.5]], num_kv_heads=2)
    except InputError as error:
        one_line(error)


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=20),
        st.sampled_from(["x" * 10**6, math.nan, math.inf, 10**400, "../..", "/etc/passwd", "a\nb", b"bytes"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(section: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every key of a configuration."""
    found = []
    for key, value in section.items() if isinstance(section, dict) else []:
        found += [(*path, key), *places(value, (*path, key))]
    return found


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(places(DEFAULT)), VALUES)
@example(("models",), None)
@example(("budgets",), [[[[[[16]]]]]])
@example(("run",), "x" * 10**6)
@example(("probe",), {"x" * 10**6: 1})
@example(("policies",), ["sparsemm[rho=" + "9" * 10**5 + "]"])
@example(("benchmarks", "synth-ocr"), {"samples": {"a": ["b"] * 10**5}})
def test_any_value_of_a_configuration_is_right_or_an_error_of_one_line(
    place: tuple[Any, ...], value: Any
) -> None:
    config = copy.deepcopy(DEFAULT)
    section = config
    for key in place[:-1]:
        section = section[key]
    section[place[-1]] = value
    try:
        checks.check(config)
    except ConfigError as error:
        one_line(error)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(["", *(place[-1] for place in places(DEFAULT))]), st.text(max_size=30), VALUES)
def test_any_further_key_is_an_error_of_one_line(near: str, name: str, value: Any) -> None:
    config = copy.deepcopy(DEFAULT) | {near + name + "?": value}
    with pytest.raises(ConfigError) as caught:
        checks.check(config)
    one_line(caught.value)


WORDS = st.one_of(
    st.sampled_from(
        [
            "heads",
            "answer",
            "audit",
            "verify",
            "--model",
            "--budget",
            "--policy",
            "-1",
            "0",
            "nan",
            "--help=",
            "--",
            "--against",
            "results/none",
            "results",
            "=",
            "@",
            "--json",
            "--quiet",
        ]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, max_size=5))
@example(["verify", "x" * 10**5])
@example(["verify", "a\nb"])
@example(["heads", "--model", "x" * 5000])
def test_any_command_line_ends_without_a_traceback(words: list[str]) -> None:
    import contextlib
    import io

    said, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        try:
            code = main(words)
        except SystemExit as ended:
            code = ended.code
    assert code in (0, 1, 2, None)
    assert "Traceback" not in errors.getvalue()
    if code == 1 and not said.getvalue():
        lines = errors.getvalue().strip().splitlines()
        assert len(lines) == 1, lines
