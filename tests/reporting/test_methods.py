"""One list of methods: a line in it is all that tables, figures and the command line need of a new policy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from sparsemm import methods
from sparsemm.cli import make_parser
from sparsemm.methods import MASKS, METHODS, Look, Method, label_of, look, main_methods, method_order
from sparsemm.policies.registry import POLICY_NAMES, needs_scores, policy_class
from sparsemm.reporting import figures, tables
from sparsemm.results.parquet import read_metadata, read_table, write_table

from helpers.fake_results import Run, make_run

LABEL = "Top-p of attention"
VARIANT = "topp[share=0.8]"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with a new policy beside SnapKV, and with a variant of it."""
    monkeypatch.setitem(METHODS, "topp", Method("topp.TopP", Look(LABEL, "#123456", "*")))
    made = make_run(
        tmp_path / "run", benchmarks=("docvqa",), models=("qwen2-vl-7b",), budgets=(64, 128), samples=20
    )
    for path in made.predictions:
        _add(path, "predictions", ["topp", VARIANT], score=1.0)
    for kind, paths in (("efficiency", made.efficiency), ("profile", made.profile)):
        for path in [path for path in paths if path.name.startswith("snapkv")]:
            paths.append(path.with_name(path.name.replace("snapkv", "topp")))
            frame = read_table(path, kind).assign(policy="topp")
            write_table(paths[-1], frame, kind, read_metadata(path))
    return made


def _add(path: Path, kind: str, labels: list[str], **values: object) -> None:
    """Repeat SnapKV's rows of a file under other labels."""
    frame, metadata = read_table(path, kind), read_metadata(path)
    own = frame[frame["policy"] == "snapkv"]
    more = [own.assign(policy=label, **values) for label in labels]
    write_table(path, pd.concat([frame, *more]), kind, metadata)


def test_the_list_is_whole_and_every_look_is_different() -> None:
    assert tuple(METHODS) == POLICY_NAMES
    assert all(policy_class(name).name == name for name in METHODS)
    looks = [look(name) for name in METHODS]
    assert len({item.color for item in looks}) == len({item.marker for item in looks}) == len(METHODS)
    assert len({item.label for item in looks}) == len(METHODS)
    assert set(MASKS) == {"visual", "random"}
    assert [name for name in METHODS if needs_scores(name)] == ["sparsemm", "visual_ada", "duo_heads"]


def test_order_and_labels_of_methods_and_of_others() -> None:
    names = ["zeta", "snapkv", "sparsemm[rho=0.3]", "fullkv", "snapkv"]
    assert method_order(names) == ["fullkv", "snapkv", "sparsemm[rho=0.3]", "zeta"]
    assert label_of("snapkv") == "SnapKV"
    assert label_of("sparsemm[rho=0.3]") == "sparsemm[rho=0.3]"
    assert look("a", 0).color != look("b", 1).color
    assert "local_window" not in main_methods()
    assert set(main_methods()) < set(METHODS)


def test_the_list_needs_the_standard_library_alone() -> None:
    code = (
        "import runpy, sys\n"
        "before = {name.partition('.')[0] for name in sys.modules}\n"
        f"runpy.run_path({methods.__file__!r})\n"
        "more = {name.partition('.')[0] for name in sys.modules} - before\n"
        "sys.exit(', '.join(sorted(more - sys.stdlib_module_names)) or None)"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


# The others are of claims, of prompts, of SparseMM's ablations, of other benchmarks, of pairs with rankers, and of the
# paper's cells.
OF_METHODS = set(tables.TABLES) - {"claims", "table1", "table3", "table4", "table6", "table_matrix", "repro"}
OF_METHODS -= {"table_emergence", "table_recipes"}  # of heads


@pytest.mark.parametrize("name", sorted(OF_METHODS))
def test_a_new_policy_is_in_every_table(name: str, run: Run, tmp_path: Path) -> None:
    paper = tmp_path / "paper.csv"
    paper.write_text("model,benchmark,method,budget,score\nqwen2-vl-7b-instruct,docvqa,topp,64,0.5\n")
    inputs = {
        "table2": {"predictions": run.predictions, "efficiency": run.efficiency},
        "table_profile": {"profile": run.profile},
        "comparison": {"predictions": run.predictions, "paper": paper},
    }
    tables.TABLES[name](stem=tmp_path / "t", **inputs.get(name, {"predictions": run.predictions}))
    numbers = pd.read_csv(tmp_path / "t.csv")
    column = "best_other" if name == "findings" else "policy"
    assert "topp" in set(numbers[column])
    assert LABEL in (tmp_path / "t.md").read_text(encoding="utf-8")
    assert LABEL in (tmp_path / "t.tex").read_text(encoding="utf-8")
    assert (VARIANT in set(numbers[column])) == (name == "rules")  # which has every cell


@pytest.mark.parametrize(
    ("name", "module", "kind"),
    [
        ("figure4", "accuracy", "predictions"),
        ("figure6", "efficiency", "efficiency"),
        ("figure_audit", "audit", "predictions"),
    ],
)
def test_a_new_policy_is_in_every_figure_of_methods(
    name: str, module: str, kind: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr(f"sparsemm.reporting.figures.{module}.save", lambda figure, stem: kept.append(figure))
    figures.FIGURES[name](stem="x", **{kind: getattr(run, kind)})
    lines = {line.get_label(): line for line in kept[0].axes[0].get_lines()}
    assert lines[LABEL].get_color() == "#123456"
    assert lines[LABEL].get_marker() == "*"
    assert VARIANT not in lines
    assert LABEL in {text.get_text() for text in kept[0].legends[0].get_texts()}


def test_a_new_policy_is_in_the_commands_help(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args(["answer", "--help"])
    assert "topp" in capsys.readouterr().out


@pytest.mark.parametrize("package", [figures, tables])
def test_every_table_and_figure_is_found_by_name(package: object) -> None:
    found = figures.FIGURES if package is figures else tables.TABLES
    assert {*found, "FIGURES" if package is figures else "TABLES"} == set(package.__all__)  # type: ignore[attr-defined]
    assert all(getattr(package, name) is make and make.__name__ == name for name, make in found.items())
