"""A headless Chromium from Debian's packages, and a made-up run's explorer to open in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsemm.reporting.explorer.page import write_explorer
from sparsemm.results.parquet import read_table, write_table

from helpers.browsing import Browser
from helpers.fake_pages import sources_of, write_pages
from helpers.fake_results import make_run

MODELS = ("first-model", "second-model")
HOSTILE = "<img src=x onerror=alert(1)></script><b>bold</b>"


def _programs() -> tuple[str | None, str | None]:
    return shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="session")
def programs() -> tuple[str, str]:
    """Chromium and its driver; installed where that is possible, else the tests are skipped."""
    if not all(_programs()):
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            pytest.skip("no chromium and chromium-driver here, and no root with apt-get to install them")
        for command in (
            ["update"],
            ["install", "-y", "--no-install-recommends", "chromium", "chromium-driver"],
        ):
            done = subprocess.run(
                ["apt-get", "-qq", *command],
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                said = (done.stderr.strip() or "no reason given").splitlines()[-1]
                pytest.skip(f"chromium and chromium-driver cannot be installed: {said}")
    chromium, driver = _programs()
    if chromium is None or driver is None:
        pytest.skip("the packages chromium and chromium-driver brought no such programs")
    return chromium, driver


@pytest.fixture(scope="session")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The explorer of a made-up run of two models; one answer is written to be read as HTML."""
    root = tmp_path_factory.mktemp("run")
    run = make_run(
        root, models=MODELS, benchmarks=("synth-docvqa", "synth-chart"), budgets=(16, 32, 64), samples=20
    )
    for path in run.predictions:
        frame = read_table(path)
        wrong = frame["score"] < 0.5
        frame.loc[wrong, "prediction"] = HOSTILE
        write_table(path, frame, "predictions", {"metric": "ANLS"})
    write_pages(root, MODELS[0])
    page = root / "explorer.html"
    write_explorer(page, "SparseMM: run made-up", sources_of(root, run), {"run": "made-up", "seed": "0"})
    return page


@pytest.fixture(scope="session")
def chromium(programs: tuple[str, str], explorer: Path) -> Iterator[Browser]:
    """One browser for all tests; nothing but the page may be asked for."""
    browser = Browser(*programs, explorer)
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser at the page's start, desktop size; after the test its log must be empty."""
    chromium.resize(1300, 900)
    chromium.open()
    yield chromium
    assert chromium.faults() == []
    assert chromium.requests() <= {f"file://{chromium.page}"}
