"""The benchmark of docs/add-a-benchmark.md, one file and one line, is fetched, asked and scored by its name alone."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from sparsemm.results.parquet import read_metadata

from helpers.hub import local_hub
from helpers.hub_data import docvqa
from project import ROOT, make_project, save_mini_model, snakemake

pytestmark = pytest.mark.long

PAGE = ROOT / "docs" / "add-a-benchmark.md"


def add_benchmark_of_the_document(project: Path) -> None:
    """Add the file and the line that the page shows to the project's copy of the code."""
    text = PAGE.read_text(encoding="utf-8")
    file, line = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)[:2]
    code = re.sub(r"^(>>>|\.\.\.) ?", "", file, flags=re.MULTILINE)
    name = re.match(r"# (src/sparsemm/benchmarks/\w+\.py)\n", code)
    assert name is not None
    assert line.count("\n") == 1
    (project / name.group(1)).write_text(code, encoding="utf-8")
    registry = project / "src/sparsemm/benchmarks/registry.py"
    known = registry.read_text(encoding="utf-8")
    before = '    "docvqa": '
    assert known.count(before) == 1
    registry.write_text(known.replace(before, line + before), encoding="utf-8")


def test_ninth_benchmark_runs_by_its_name(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", copy=True)
    add_benchmark_of_the_document(project)
    mini = yaml.safe_load((ROOT / "tests/workflow/mini.yaml").read_text(encoding="utf-8"))
    mini["benchmarks"] = {"infovqa": {"samples": "all", "shards": 2, "max_new_tokens": 4, "batch_size": 2}}
    mini["policies"], mini["probes"] = ["sparsemm"], {}
    for ablation in mini["ablations"].values():
        ablation["benchmark"] = "infovqa"
    mini["masking"]["benchmarks"] = []
    (project / "config/mini.yaml").write_text(yaml.safe_dump(mini), encoding="utf-8")
    save_mini_model(project / "data/models/mini")
    # InfographicVQA is another configuration of DocVQA's data set, with the same columns.
    rows = docvqa()
    rows.files = {
        name.replace("DocVQA/", "InfographicVQA/"): data.replace(b"DocVQA", b"InfographicVQA")
        if name == "README.md"
        else data
        for name, data in rows.files.items()
    }
    wanted = [f"results/mini/predictions/mini/infovqa/{shard}.parquet" for shard in (0, 1)]
    with local_hub(rows) as hub:
        home = {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path / "home"),
            "HF_TOKEN": "",
        }
        done = snakemake(project, *wanted, "preflight", "--configfile", "config/mini.yaml", **home)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "| benchmarks.infovqa | lmms-lab/DocVQA |" in done.stdout
    frames = [pd.read_parquet(project / path) for path in wanted]
    assert [frame["sample_id"].nunique() for frame in frames] == [4, 4]
    assert not set(frames[0]["image_id"]) & set(frames[1]["image_id"]), (
        "an image's questions are in one shard"
    )
    frame = pd.concat(frames)
    assert {"fullkv", "sparsemm"} <= set(frame["policy"])
    assert frame[["score_paper", "score_current"]].notna().all(axis=None)
    assert read_metadata(project / wanted[0])["metric"] == "ANLS"
