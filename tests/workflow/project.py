"""A project folder of its own for a test: the checkout's workflow and code by link, results and model apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINKED = ("Snakefile", "config", "workflow", "profiles", "environment.yml", "src")


def make_project(folder: Path) -> Path:
    """Link the checkout's workflow into `folder`, which then is a place to run Snakemake in."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    (folder / "data").mkdir()
    (folder / "data" / "paper").symlink_to(ROOT / "data" / "paper")
    return folder


def snakemake(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in `project` as a user would; output as text, no exception for a failure."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=project,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def save_mini_model(folder: Path) -> None:
    """Save a random model that answers in letters and digits, so that scoring finds tokens to match."""
    import copy

    import torch

    from helpers import tiny

    model = copy.deepcopy(tiny.model("mha"))
    texts = [tiny.processor().tokenizer.decode([index]) for index in range(model.lm_head.weight.shape[0])]
    with torch.no_grad():
        for index, text in enumerate(texts):
            if not (text.isalnum() and text.isascii() and not text.islower()):
                model.lm_head.weight[index] = 0
    model.save_pretrained(folder)
    tiny.processor().save_pretrained(folder)
