"""Claims from result files: numbers are those of the files, what was not run says so, the figure shows the table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from sparsemm.errors import InputError
from sparsemm.reporting import figures, paper_values, tables
from sparsemm.reporting.claims import (
    CLAIMS,
    HOLDS,
    NOT_RUN,
    TITLES,
    UNDECIDED,
    VERDICTS,
    Claim,
    Evidence,
    judge,
)
from sparsemm.reporting.claims.base import above, below, failed, verdict, within, without_interval
from sparsemm.reporting.figures import claims as drawing
from sparsemm.reporting.paper_values import MISTRAL, PAPER_MODELS, QWEN, VICUNA
from sparsemm.reporting.tables.claims import COLUMNS, read_claims
from sparsemm.results.parquet import read_table, write_table

from helpers.claim_runs import BENCHMARK, MODEL, MadeUp, answers
from helpers.fake_paper import make_paper_run
from helpers.fake_results import Run, make_run

PAPER = sorted((Path(__file__).parents[2] / "data" / "paper").glob("*.csv"))
TINY = "tiny-llava-next-vicuna"
KINDS = ("predictions", "run_scores", "scores", "samples", "masks", "efficiency")


def files(run: Run) -> dict[str, list[Path]]:
    """The files of a run that the claims read."""
    return {kind: getattr(run, kind) for kind in KINDS}


def table(folder: Path, **given: list[Path]) -> pd.DataFrame:
    """The csv of the claims, by claim and place."""
    tables.claims(folder / "claims", paper=PAPER, **given)
    return pd.read_csv(folder / "claims.csv", keep_default_na=False, na_values=[""]).fillna({"where": ""})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"), loser="synth-chart")


@pytest.fixture(scope="module")
def judged_run(run: Run) -> list[Claim]:
    return judge(Evidence(**files(run), paper=PAPER, draws=4000))


def test_every_claim_has_rows_with_keys_of_their_own(judged_run: list[Claim]) -> None:
    assert list(CLAIMS) == list(TITLES) == [f"C{number}" for number in range(1, 10)]
    keys = [(claim.id, claim.model, claim.where) for claim in judged_run]
    assert len(set(keys)) == len(keys)
    assert {claim.id[:2] for claim in judged_run} == set(CLAIMS)
    for claim in judged_run:
        assert claim.verdict in VERDICTS
        assert (claim.verdict == NOT_RUN) == np.isnan(claim.effect)
        assert (claim.verdict == NOT_RUN) <= bool(claim.detail)
        assert claim.verdict == NOT_RUN or claim.low <= claim.effect <= claim.high
        assert claim.statement.endswith(".")
        assert np.isfinite(claim.bound)


def test_effects_are_those_of_the_files(run: Run, judged_run: list[Claim]) -> None:
    found = {(claim.id, claim.where): claim for claim in judged_run}
    frame = pd.concat(
        [read_table(p, "predictions") for p in run.predictions if p.parent.name == "synth-docvqa"]
    )
    means = frame.groupby(["policy", "budget"])["score"].mean()
    least = min(
        means["sparsemm", budget] - means[other, budget]
        for budget in (12, 16, 24, 32)
        for other in ("snapkv", "pyramidkv", "adakv", "random_heads")
    )
    claim = found["C3", "synth-docvqa"]
    assert claim.effect == pytest.approx(least, abs=0.05)  # that with the lowest interval
    assert found["C3", "synth-chart"].verdict == "fails"  # the loser
    assert found["C9a", "synth-docvqa"].effect == pytest.approx(means["sparsemm", 64] / means["fullkv", 0])
    scores = read_table(run.scores[0], "scores")["score"].sort_values(ascending=False)
    assert found["C1c", "top 10 %"].effect == pytest.approx(scores.iloc[:7].sum())
    assert found["C8b", "decode"].verdict == HOLDS


@pytest.mark.parametrize("kind", KINDS)
def test_what_lacks_its_files_is_not_run(kind: str, run: Run) -> None:
    given = files(run) | {kind: []}
    rows = judge(Evidence(**given, draws=200))
    lost = {
        "predictions": {"C3", "C4", "C5", "C6", "C9"},
        "run_scores": set(),
        "scores": {"C4"},  # which is about MHA
        "samples": {"C1"},
        "masks": {"C2"},
        "efficiency": {"C8"},
    }[kind]
    assert {claim.id[:2] for claim in rows} == set(CLAIMS)
    assert {claim.id[:2] for claim in rows if claim.verdict == NOT_RUN} == lost | {"C7"}


def test_nothing_run_is_a_table_and_a_figure_of_the_papers_models(tmp_path: Path) -> None:
    numbers = table(tmp_path)
    assert set(numbers["verdict"]) == {NOT_RUN}
    assert set(numbers["model"]) == set(PAPER_MODELS)
    assert numbers[["effect", "low", "high", "p_value"]].isna().all().all()
    assert numbers.loc[numbers["id"] == "C1b", "paper"].eq(0.55).all()
    figures.figure_claims(tmp_path / "claims.csv", tmp_path / "figure_claims")
    assert (tmp_path / "figure_claims.png").stat().st_size > 10_000
    assert NOT_RUN in (tmp_path / "claims.md").read_text(encoding="utf-8")


def test_a_trial_of_two_rows_decides_nothing_of_its_answers(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", samples=2)
    for path in run.predictions:
        write_table(path, read_table(path), "predictions", {"model": TINY, "metric": "ANLS", "limit": 2})
    for path in [path for path in run.efficiency if "2048" in path.name]:
        frame = read_table(path).query("repeat == 0")
        write_table(path, frame, "efficiency", {"model": TINY})
    given = files(run)
    given["efficiency"] = [path for path in run.efficiency if "2048" in path.name or "4096" in path.name]
    numbers = table(tmp_path, **given)
    answers_of = numbers[~numbers["id"].str.startswith("C1")]
    assert set(answers_of["verdict"]) <= {UNDECIDED, NOT_RUN}
    assert "A trial run of the first 2 rows" in (tmp_path / "claims.md").read_text(encoding="utf-8")


def test_the_papers_models_stand_beside_their_own_numbers(tmp_path: Path) -> None:
    run = make_paper_run(
        tmp_path / "run",
        benchmarks=("docvqa", "ocrbench", "textcaps", "mmbench"),
        images=8,
        java=False,
    )
    rows = judge(Evidence(**files(run), paper=PAPER, draws=200))
    found = {(claim.id, claim.model, claim.where): claim for claim in rows}
    theirs = paper_values.accuracy(next(path for path in PAPER if path.stem == "accuracy"))
    scores = theirs[(theirs["paper_model"] == VICUNA) & (theirs["benchmark"] == "docvqa")]
    scores = scores.set_index(["policy", "budget"])["paper_score"]
    least = min(
        scores["sparsemm", budget] - scores[other, budget]
        for budget in (64, 128, 256)
        for other in ("snapkv", "pyramidkv", "adakv", "random_heads")
    )
    assert found["C3", VICUNA, "docvqa"].paper == pytest.approx(least)
    assert found["C3", VICUNA, "docvqa"].paper_of == f"{VICUNA}, docvqa"
    assert found["C5b", MISTRAL, "ocrbench"].paper == pytest.approx(0.519 - 0.451)
    assert found["C6a", "qwen2-vl-7b", "mmbench"].paper_of == f"{QWEN}, mmbench"
    assert found["C8b", VICUNA, "decode"].paper == pytest.approx(0.885, abs=0.01)
    assert not [claim for claim in rows if claim.where == "textcaps" and claim.verdict != NOT_RUN]  # no Java
    assert found["C9a", "qwen2-vl-7b", "mmbench"].verdict != NOT_RUN


def test_probe_sets_and_gqa(tmp_path: Path) -> None:
    run = make_run(tmp_path, samples=20, benchmarks=("synth-docvqa",))
    grouped = read_table(run.scores[0], "scores").assign(kv_head=lambda frame: frame["head"] // 3)
    path = tmp_path / "scores" / "sets" / "wild" / f"{TINY}.parquet"
    write_table(path, grouped, "scores", {"model": TINY})
    write_table(run.scores[0], grouped, "scores", {"model": TINY})
    rows = judge(Evidence(**files(run), sets=[path], paper=PAPER, draws=200))
    found = {(claim.id, claim.where): claim for claim in rows}
    assert found["C7a", "wild"].effect == found["C7b", "wild"].effect == pytest.approx(1.0)
    assert found["C7c", "wild"].verdict == NOT_RUN
    assert "GQA" in found["C4", ""].detail
    assert found["C3", "synth-docvqa"].paper_of.startswith(MISTRAL)


def test_a_set_of_which_too_little_is_read_is_not_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, samples=20, benchmarks=("synth-docvqa",))
    heads = read_table(run.scores[0], "scores")
    rows = [read_table(path, "predictions") for path in run.predictions]
    for path, frame in zip(run.predictions, rows):
        added = frame[(frame["policy"] == "sparsemm") & (frame["budget"] == 16)]
        named = [added.assign(policy=f"sparsemm[probe={name}]") for name in ("little", "none", "wild")]
        write_table(path, pd.concat([frame, *named]), "predictions", {"model": TINY, "metric": "ANLS"})
    even = heads.assign(score=1 / len(heads), ci_low=1 / len(heads), ci_high=1 / len(heads), matched_tokens=0)
    made = {"wild": heads, "little": heads.assign(matched_tokens=7), "none": even}
    paths = [tmp_path / "scores" / "sets" / name / f"{TINY}.parquet" for name in made]
    for path, frame in zip(paths, made.values()):
        said = {"no_match": "uniform: no token matched"} if path.parent.name == "none" else {}
        write_table(path, frame, "scores", {"model": TINY} | said)
    claims = judge(Evidence(**files(run), sets=paths, paper=PAPER, draws=200))
    found = {(claim.id, claim.where): claim for claim in claims}
    for part in ("C7a", "C7b", "C7c"):
        assert found[part, "wild"].verdict != NOT_RUN
        assert found[part, "little"].verdict == found[part, "none"].verdict == NOT_RUN
        assert "7 tokens matched: too few" in found[part, "little"].detail
        assert "no token matched" in found[part, "none"].detail


def test_the_csv_holds_the_claims(run: Run, tmp_path: Path) -> None:
    numbers = table(tmp_path, **files(run))
    assert list(numbers.columns) == COLUMNS
    again = read_claims(tmp_path / "claims.csv")
    assert [(c.id, c.model, c.where, c.verdict) for c in again] == list(
        zip(numbers["id"], numbers["model"], numbers["where"], numbers["verdict"])
    )
    assert {field.name for field in dataclasses.fields(Claim)} == set(COLUMNS)
    (tmp_path / "other.csv").write_text("id,model\n1,2\n")
    for name in ("other.csv", "none.csv"):
        with pytest.raises(InputError, match="no table of claims"):
            read_claims(tmp_path / name)


def test_the_figure_shows_every_row(judged_run: list[Claim], monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr(drawing, "save", lambda figure, stem: kept.append(figure))
    drawing.draw(judged_run, "x")
    texts = [text.get_text() for axes in kept[0].axes for text in axes.texts]
    for name in VERDICTS[:3]:
        assert texts.count(name) == sum(claim.verdict == name for claim in judged_run)
    assert texts.count(NOT_RUN) == 1  # C7, in one row
    titles = [axes.get_title(loc="left") for axes in kept[0].axes]
    assert titles == [f"{number}  {TITLES[number]}" for number in CLAIMS]
    wide, tall = kept[0].get_size_inches()
    assert wide <= 8.3
    assert tall <= 11.7


def test_verdicts_of_tests() -> None:
    draws = np.linspace(0.1, 0.3, 401)
    good, bad, open_ = above("a", 0.2, draws, 0.0), above("b", -0.2, -draws, 0.0), above("c", 0.2, draws, 0.2)
    assert [verdict([test]) for test in (good, bad, open_)] == ["holds", "fails", "undecided"]
    assert verdict([good, open_]) == "undecided"
    assert verdict([good, bad]) == "fails"
    assert verdict([below("d", 0.2, draws, 0.4)]) == "holds"
    assert verdict([within("e", 0.2, draws, 0.35)]) == "holds"
    assert verdict([within("f", 0.2, draws, 0.05)]) == "fails"
    assert verdict([without_interval("g", 0.2)]) == "undecided"
    # On the wrong side of 0 and less than the margin away: it passes, and does not make others fail.
    near = above("h", -0.005, np.linspace(-0.008, -0.002, 401), -0.01, fails_below=0.0)
    assert not failed(near, near.p_fails)
    assert verdict([near]) == "holds"
    assert verdict([near, above("i", 0.0, draws - 0.2, -0.01)]) == "undecided"


def test_no_difference_in_few_samples_is_no_proof_of_none() -> None:
    levels = {("sparsemm", 32): 0.0, ("snapkv", 32): 0.0}
    for count, expected in ((30, UNDECIDED), (2000, HOLDS)):
        evidence = MadeUp(cells={BENCHMARK: answers(np.random.default_rng(0), count, levels)})
        (claim,) = CLAIMS["C3"](evidence, MODEL)
        assert claim.effect == 0.0
        assert claim.verdict == expected
