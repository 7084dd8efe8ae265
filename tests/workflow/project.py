"""A project folder for a test: the checkout's workflow and code by link or copied, results and model of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "config", "workflow", "profiles", "environment.yml", "src", "data/paper")


def make_project(folder: Path, *, copy: bool = False) -> Path:
    """A folder to run Snakemake in, whose workflow and code are links to the checkout's, or copies to be changed."""
    for part in PARTS:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if not copy:
            target.symlink_to(source)
        elif source.is_dir() and not source.is_symlink():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True)
        else:
            shutil.copy(source, target, follow_symlinks=False)
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
