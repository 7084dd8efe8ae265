"""The whole workflow on a random model and with the policy of docs/add-a-policy.md: everything appears, nothing runs
twice, both reports show it all, figures need no torch."""

from __future__ import annotations

import base64
import html
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from project import ROOT, make_project, save_mini_model, snakemake

MINI = ("--configfile", "config/mini.yaml")


def add_policy_of_the_document(project: Path) -> None:
    """Add the file and the line that docs/add-a-policy.md shows to the project's copy of the code."""
    text = (ROOT / "docs" / "add-a-policy.md").read_text(encoding="utf-8")
    file, line = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)[:2]
    code = re.sub(r"^(>>>|\.\.\.) ?", "", file, flags=re.MULTILINE)
    name = re.match(r"# (src/sparsemm/policies/\w+\.py)\n", code)
    assert name is not None
    assert line.count("\n") == 1
    (project / name.group(1)).write_text(code, encoding="utf-8")
    methods = project / "src" / "sparsemm" / "methods.py"
    known = methods.read_text(encoding="utf-8")
    before = '    "random_heads": '
    assert known.count(before) == 1
    methods.write_text(known.replace(before, line + before), encoding="utf-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copied project with one more policy, in which the mini configuration has run to its end."""
    project = make_project(tmp_path_factory.mktemp("run") / "project", copy=True)
    add_policy_of_the_document(project)
    mini = yaml.safe_load((ROOT / "tests" / "workflow" / "mini.yaml").read_text(encoding="utf-8"))
    mini["policies"] = ["snapkv", "pyramidkv", "adakv", "topp", "sparsemm", "random_heads"]
    (project / "config" / "mini.yaml").write_text(yaml.safe_dump(mini), encoding="utf-8")
    save_mini_model(project / "data" / "models" / "mini")
    done = snakemake(project, *MINI)
    assert done.returncode == 0, done.stderr[-4000:]
    return project


def files(project: Path) -> set[str]:
    base = project / "results" / "mini"
    hidden = ("logs", "benchmarks", "work")
    return {
        path.relative_to(base).as_posix()
        for path in base.rglob("*")
        if path.is_file() and path.relative_to(base).parts[0] not in hidden
    }


def captions() -> dict[str, str]:
    """The words of every caption by the name of its table or figure, without marks."""
    paths = (ROOT / "workflow" / "report").glob("*.rst")
    texts = {path.stem: plain(path.read_text(encoding="utf-8")) for path in paths}
    return {name: text for name, text in texts.items() if name not in ("caption", "workflow")}


def plain(text: str) -> str:
    """Text without HTML tags, strong marks and the difference of white space."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>|\*\*", " ", text)).replace(" .", ".").split())


def test_every_result_is_there(finished: Path) -> None:
    from sparsemm.reporting.figures import FIGURES
    from sparsemm.reporting.tables import TABLES

    assert set(captions()) == {*TABLES, *FIGURES}
    found = files(finished)
    assert {
        "probe/llava_next.parquet",
        "patches/mini.parquet",
        "scores/mini.parquet",
        "scores/samples/mini.parquet",
        "keep/mini.parquet",
        "predictions/mini/synth-docvqa/0.parquet",
        "predictions/mini/synth-docvqa/1.parquet",
        "predictions/mini/synth-ocr/0.parquet",
        "masks/mini/synth-ocr.parquet",
        "attention_maps/mini.parquet",
        *(f"attention_maps/{kind}/mini.parquet" for kind in ("pages", "heads", "ranks", "kept")),
        "recipes/scores/mini.parquet",
        "recipes/losses/mini.parquet",
        *(
            f"{kind}/sets/{probe}/{'plain' if kind == 'probe' else 'mini'}.parquet"
            for kind in ("probe", "patches", "scores", "scores/samples", "attention_maps")
            for probe in ("wild", "shapes")
        ),
        "efficiency/mini/fullkv-512.parquet",
        "efficiency/mini/sparsemm-512.parquet",
        "profile/mini/sparsemm-512.parquet",
        "paper/report.html",
        "paper/explorer.html",
    } <= found
    for name in captions():
        kinds = ("pdf", "png") if name.startswith("figure") else ("csv", "md", "tex")
        assert {f"paper/{name}.{kind}" for kind in kinds} <= found
    assert not [name for name in found if "partial" in name]


def test_policy_of_the_document_runs_by_its_name_alone(finished: Path) -> None:
    results = finished / "results" / "mini"
    for path in (results / "predictions").rglob("*.parquet"):
        frame = pd.read_parquet(path)
        assert set(frame[frame["policy"] == "topp"]["budget"]) == {10, 12}
    assert "topp" in set(pd.read_csv(results / "paper" / "table5.csv")["policy"])
    assert "Top-p" in (results / "paper" / "table5.md").read_text(encoding="utf-8")
    # What it keeps depends on the attention to each prompt: like AdaKV it has no plan.
    assert set(pd.read_parquet(results / "keep" / "mini.parquet")["policy"]) == {
        "snapkv",
        "pyramidkv",
        "sparsemm",
        "random_heads",
    }


def test_a_benchmark_is_answered_with_the_heads_of_each_probe_set(finished: Path) -> None:
    frames = {
        name: pd.read_parquet(finished / f"results/mini/predictions/mini/{name}/0.parquet")
        for name in ("synth-ocr", "synth-docvqa")
    }
    labels = {"sparsemm[probe=wild]", "sparsemm[probe=shapes]"}
    assert labels <= set(frames["synth-ocr"]["policy"])
    assert not labels & set(frames["synth-docvqa"]["policy"])
    of_set = frames["synth-ocr"]["policy"] == "sparsemm[probe=wild]"
    assert set(frames["synth-ocr"][of_set]["budget"]) == {12}


def test_second_run_has_nothing_to_do_until_a_policy_changes(finished: Path) -> None:
    done = snakemake(finished, *MINI)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr
    file = finished / "src" / "sparsemm" / "policies" / "topp.py"
    before = file.read_text(encoding="utf-8")
    file.write_text(before.replace("share: float = 0.9", "share: float = 0.8"), encoding="utf-8")
    done = snakemake(finished, "--dry-run", *MINI)
    file.write_text(before, encoding="utf-8")
    planned = set(re.findall(r"^rule (\w+):$", done.stdout + done.stderr, flags=re.MULTILINE))
    assert {"allocate_budget", "evaluate_shard", "profile_length"} <= planned
    assert not {"make_probe", "score_heads", "map_attention"} & planned


def test_page_holds_every_caption_and_picture(finished: Path) -> None:
    paper = finished / "results" / "mini" / "paper"
    page = (paper / "report.html").read_text(encoding="utf-8")
    words = plain(page)
    for name, caption in captions().items():
        assert caption in words, name
    pictures = sorted(paper.glob("*.png"))
    assert len(pictures) == page.count("<img ")
    for picture in pictures:
        assert base64.b64encode(picture.read_bytes()).decode() in page, picture.name


def test_snakemakes_report_holds_every_caption_and_the_text_of_the_run(finished: Path) -> None:
    done = snakemake(finished, "--report", "results/mini/report.html", *MINI)
    assert done.returncode == 0, done.stderr[-4000:]
    # Captions are HTML in strings of JSON.
    text = (finished / "results/mini/report.html").read_text(encoding="utf-8")
    words = plain(text.replace("\\n", " ").replace('\\"', '"'))
    for name, caption in captions().items():
        assert caption in words, name
    overview = (ROOT / "workflow" / "report" / "workflow.rst").read_text(encoding="utf-8")
    assert plain(overview.split("\n\n")[1]) in words
    for picture in (finished / "results/mini/paper").glob("*.png"):
        assert picture.name in text


def test_figures_are_rebuilt_from_cached_results_without_torch(finished: Path, tmp_path: Path) -> None:
    drawn = {"figure2.png", "figure7.pdf", "table1.csv", "table5.tex", "claims.csv", "figure_claims.png"}
    drawn |= {"explorer.html"}
    for name in drawn:
        (finished / "results" / "mini" / "paper" / name).unlink()
    # Results that are older than the explorer lack what it alone reads.
    (finished / "results" / "mini" / "attention_maps" / "kept" / "mini.parquet").unlink()
    # Results of another machine come without records of how they were made, and may look out of date: they must be
    # taken as they are, as no model can run here.
    shutil.rmtree(finished / ".snakemake" / "metadata")
    (finished / "results/mini/probe/llava_next.parquet").touch()
    for name in ("torch", "transformers"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not importable here')\n")
    planned = snakemake(finished, "--dry-run", *MINI)
    assert "rule score_heads:" in planned.stdout + planned.stderr
    done = snakemake(finished, "figures", "claims", *MINI, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr[-4000:]
    assert {f"paper/{name}" for name in drawn} <= files(finished)
    assert "score_heads" not in done.stdout + done.stderr
