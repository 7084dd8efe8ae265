"""The head scores that the paper's authors published; they lie beside the repository, not in it."""

from __future__ import annotations

from pathlib import Path

import pytest

PUBLISHED = Path(__file__).parents[3] / "shared/reference/head_scores/llava-next-vicuna-7b.json"

needs_published = pytest.mark.skipif(
    not PUBLISHED.is_file(), reason="the published head scores are not beside this repository"
)
