"""Seeds as a list, or as their number."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

import checks
from narrowing import limited
from seeds import with_seeds

ROOT = Path(__file__).resolve().parents[2]
EMERGENCE = {"pages": 30, "masked_pages": 20, "fractions": [0.02], "seeds": 3, "batch_size": 4}
RECIPES = {"images": 24, "samples": 8, "size": 1, "groups": "all"}


def config(**changes: Any) -> dict[str, Any]:
    made = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    return copy.deepcopy(made) | changes


def test_a_number_stands_for_that_many_seeds() -> None:
    asked = config(emergence=EMERGENCE, recipes=RECIPES)
    asked["masking"]["seeds"] = 20
    checks.check(asked)
    made = with_seeds(asked)
    assert made["masking"]["seeds"] == list(range(20))
    assert made["emergence"]["seeds"] == [0, 1, 2]
    assert made["emergence"] == EMERGENCE | {"seeds": [0, 1, 2]}
    assert with_seeds(config()) == config()


@pytest.mark.parametrize(
    ("seeds", "fault"),
    [(0, "less than the minimum"), ([1, 1], "there twice"), ([-1], "less than"), ("3", "not of type")],
)
def test_other_seeds_are_faults(seeds: Any, fault: str) -> None:
    asked = config()
    asked["masking"]["seeds"] = seeds
    with pytest.raises(checks.ConfigError, match=f"masking.seeds.*{fault}"):
        checks.check(asked)


def test_sections_that_are_asked_for_are_checked_and_limited() -> None:
    with pytest.raises(checks.ConfigError, match=r"more than probe.images 200; lower one"):
        checks.check(config(recipes=RECIPES | {"images": 200}))
    with pytest.raises(checks.ConfigError, match=r"recipes.groups: 'some'"):
        checks.check(config(recipes=RECIPES | {"groups": "some"}))
    with pytest.raises(checks.ConfigError, match="'pages' is missing at emergence"):
        checks.check(config(emergence={key: EMERGENCE[key] for key in EMERGENCE if key != "pages"}))
    few = limited(config(emergence=EMERGENCE, recipes=RECIPES, limit=5))
    assert (few["emergence"]["pages"], few["emergence"]["masked_pages"]) == (5, 5)
    assert (few["recipes"]["images"], few["recipes"]["samples"]) == (5, 5)
