"""The paper's experiment, whole and tiny: true ids on a hub of this machine, a CPU, four rows a benchmark.

    PYTHONPATH=tests:tests/workflow python tests/long/run_paper.py [FOLDER]

Runs `snakemake paper --cores 2 --resources gpu=0 --configfile config/paper.yaml --config limit=4` in a copied project
and checks what is there at the end. A step of .ci/run: it takes minutes. FOLDER is kept, else a temporary one is used.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path

from helpers.hub import local_hub
from helpers.hub_models import paper_hub
from project import make_project, snakemake

CALL = ("paper", "--resources", "gpu=0", "--configfile", "config/paper.yaml", "--config", "limit=4")
TABLES = (
    "claims",
    "table1",
    "table2",
    "table3",
    "table4",
    "table5",
    "table6",
    "comparison",
    "repro",
    "rules",
)
FIGURES = ("figure_claims", "figure2", "figure4", "figure5", "figure6", "figure7", "figure10")


def run(folder: Path) -> None:
    """One run, checked."""
    project = make_project(folder / "project", copy=True)
    begin = time.monotonic()
    with local_hub(*paper_hub()) as hub:
        online = {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(folder / "home"),
            "HF_TOKEN": hub.token,
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        done = snakemake(project, *CALL, **online)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said[-6000:]
        print(f"{time.monotonic() - begin:.0f} s, {len(re.findall(r'Finished job', said))} jobs")
        downloads = [path for method, path in hub.requests if method == "GET" and "/resolve/" in path]
        assert len(downloads) == len(set(downloads)), "a file was downloaded twice"
    paper = project / "results/paper/paper"
    for name in TABLES:
        for kind in ("csv", "md", "tex"):
            assert (paper / f"{name}.{kind}").stat().st_size > 0
    for name in FIGURES:
        for kind in ("pdf", "png"):
            assert (paper / f"{name}.{kind}").stat().st_size > 0
    texts = {path: path.read_text(errors="replace") for path in project.joinpath("results").rglob("*.log")}
    texts |= {path: path.read_text(errors="replace") for path in paper.glob("*.md")}
    texts[Path("terminal")] = said
    for path, text in texts.items():
        assert "Traceback" not in text, path
        assert hub.token not in text, f"{path} shows the token"
    for path in paper.glob("table[1-6].md"):
        assert "first 4 rows" in path.read_text() or "not run" in path.read_text(), path


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            run(Path(made))
