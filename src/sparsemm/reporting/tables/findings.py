"""The findings of a run, as a table and in sentences: where SparseMM is better than the other methods and where not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sparsemm.errors import InputError
from sparsemm.methods import label_of
from sparsemm.reporting.notes import run_notes
from sparsemm.reporting.summary import (
    Paths,
    as_paths,
    images_of,
    in_order,
    main_cells,
    panels,
    part,
    read_efficiency,
    read_masks,
    read_predictions,
    score_matrix,
    summarise,
    top_heads,
)
from sparsemm.reporting.tables.writing import Cell, Row, write, write_not_run
from sparsemm.results.parquet import read_table
from sparsemm.stats import paired_bootstrap

_HEAD = ["model", "benchmark", "budget", "SparseMM", "best other", "difference", "tokens kept", "SparseMM is"]
_COLUMNS = [
    "model",
    "benchmark",
    "metric",
    "samples",
    "budget",
    "sparsemm_score",
    "best_other",
    "other_score",
]
_COLUMNS += ["difference", "ci_low", "ci_high", "p_value", "verdict"]
BETTER, WORSE, EVEN = "better", "worse", "not clearly different"


def findings(
    predictions: Paths,
    stem: str | Path,
    *,
    masks: Paths = (),
    efficiency: Paths = (),
    scores: Paths = (),
    run_scores: Paths = (),
) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: SparseMM against the best other method, cell by cell.

    The csv has, per model, benchmark and budget: the budget's share of the mean prompt, FullKV's score, the score and
    effective budget of SparseMM and of the best other method, their difference with its paired 95 % bootstrap interval,
    p value and verdict. The best other method is chosen on the same samples, which favours it. The p values are not
    corrected for the number of comparisons.

    Args:
        predictions: files of kind predictions.
        stem: path of the table without its suffix.
        masks: files of kind masks; they add sentences on masked heads.
        efficiency: files of kind efficiency; they add sentences on latency.
        scores: files of kind scores; they add sentences on the visual scores.
        run_scores: files of kind run_scores.

    Raises:
        InputError: for a file that cannot be read, and where SparseMM or every other method is missing.
    """
    if not as_paths(predictions):
        write_not_run(stem, _COLUMNS, _HEAD, ["No benchmark was run."], labels=2)
        return
    frame = read_predictions(predictions, run_scores)
    about = run_notes(predictions, run_scores=run_scores, scores=scores)
    if frame["score"].isna().all():
        write_not_run(stem, _COLUMNS, _HEAD, ["No benchmark of this run has a score.", *about], labels=2)
        return
    numbers = compare(frame)
    rows: list[Row] = []
    for row in numbers.itertuples():
        sign = Cell(f"{row.difference:+.3f} [{row.ci_low:+.3f}, {row.ci_high:+.3f}]", row.verdict != EVEN)
        kept = f"{row.sparsemm_effective:.0f} / {row.other_effective:.0f}"
        other = f"{label_of(row.best_other)} {row.other_score:.3f}"
        cells: list[str | Cell] = [f"{row.sparsemm_score:.3f}", other, sign, kept, str(row.verdict)]
        rows.append([str(row.model), str(row.benchmark), str(row.budget), *cells])
    said = [*sentences(numbers, masks, efficiency, scores, predictions), *about]
    write(stem, numbers, _HEAD, rows, [f"- {sentence}" for sentence in said], labels=2)


def compare(predictions: pd.DataFrame) -> pd.DataFrame:
    """SparseMM against the other method with the highest score: one row per model, benchmark and budget.

    Args:
        predictions: rows from `read_predictions`.

    Raises:
        InputError: if no budget has both SparseMM and another method.
    """
    frame = main_cells(predictions)
    cells = summarise(frame, draws=2)
    records = []
    for model, benchmark in panels(cells):
        where = f"predictions of {model} on {benchmark}"
        rows = part(frame, model, benchmark)
        matrix = score_matrix(rows, ["policy", "budget"], where)
        if matrix.empty:  # no row has a score
            continue
        images = images_of(rows, matrix)
        own = part(cells, model, benchmark).set_index(["policy", "budget"])
        full = own["score"].get(("fullkv", 0), float("nan"))
        for budget in sorted(set(own.index.get_level_values("budget")) - {0}):
            at = own.xs(budget, level="budget")
            others = at.drop(index="sparsemm", errors="ignore")
            if "sparsemm" not in at.index or others.empty:
                continue
            best = str(others["score"].idxmax())
            test = paired_bootstrap(
                matrix[("sparsemm", budget)].to_numpy(), matrix[(best, budget)].to_numpy(), clusters=images
            )
            verdict = BETTER if test.low > 0 else WORSE if test.high < 0 else EVEN
            records.append(
                {
                    "model": model,
                    "benchmark": benchmark,
                    "metric": at["metric"].iloc[0],
                    "samples": len(matrix),
                    "budget": int(budget),
                    "budget_over_prompt": budget / at["prompt_tokens"].iloc[0],
                    "fullkv_score": full,
                    "sparsemm_score": at.loc["sparsemm", "score"],
                    "sparsemm_effective": at.loc["sparsemm", "kept_tokens"],
                    "best_other": best,
                    "other_score": at.loc[best, "score"],
                    "other_effective": at.loc[best, "kept_tokens"],
                    "difference": test.difference,
                    "ci_low": test.low,
                    "ci_high": test.high,
                    "p_value": test.p_value,
                    "verdict": verdict,
                }
            )
    if not records:
        raise InputError("findings: no budget has both sparsemm and another method; evaluate both")
    return pd.DataFrame(records)


def sentences(
    numbers: pd.DataFrame,
    masks: Paths = (),
    efficiency: Paths = (),
    scores: Paths = (),
    predictions: Paths = (),
) -> list[str]:
    """The findings in sentences.

    Args:
        numbers: rows from `compare`.
        masks: files of kind masks, or none.
        efficiency: files of kind efficiency, or none.
        scores: files of kind scores, or none.
        predictions: say which masked samples share an image.
    """
    counts = numbers["verdict"].value_counts()
    said = [
        f"Of {len(numbers)} cells (model, benchmark, budget), SparseMM is better than the best other method in "
        f"{counts.get(BETTER, 0)}, worse in {counts.get(WORSE, 0)} and not clearly different in "
        f"{counts.get(EVEN, 0)} (paired 95 % bootstrap intervals over samples, not corrected for the number of "
        "comparisons; the best other method is chosen on the same samples)."
    ]
    for (model, benchmark), rows in numbers.groupby(["model", "benchmark"], sort=False):
        said.append(f"{model} on {benchmark} ({rows['metric'].iloc[0]}): {_curve(rows)}")
    for model in in_order(numbers["model"]):
        said += [f"{model}: {text}" for text in _score_shares(scores, model)]
        said += [f"{model}: {text}" for text in _latency(efficiency, model)]
        said += [f"{model}: {text}" for text in _masking(masks, model, predictions)]
    return said


def _curve(rows: pd.DataFrame) -> str:
    words = []
    for verdict in (BETTER, WORSE, EVEN):
        found = rows[rows["verdict"] == verdict]
        if len(found):
            words.append(f"{verdict} at {', '.join(map(str, found['budget']))}")
    lost = rows[rows["verdict"] == WORSE]
    if len(lost):
        at = lost.loc[lost["budget"].idxmax()]
        words.append(
            f"the largest budget at which it loses is {at['budget']} tokens "
            f"({at['budget_over_prompt'] * 100:.1f} % of the prompt), by {-at['difference']:.3f} to "
            f"{label_of(at['best_other'])}"
        )
    first = rows.sort_values("budget").iloc[0]
    tail = ""
    if first["fullkv_score"] > 0:
        share = first["sparsemm_score"] / first["fullkv_score"] * 100
        other = first["other_score"] / first["fullkv_score"] * 100
        tail = (
            f" At {first['budget']} tokens SparseMM has {share:.0f} % of FullKV's {first['fullkv_score']:.3f}, "
            f"{label_of(first['best_other'])} {other:.0f} %."
        )
    return f"against the best other method, SparseMM is {'; '.join(words)}.{tail}"


def _score_shares(scores: Paths, model: str) -> list[str]:
    said = []
    for path in as_paths(scores):
        if path.stem == model:
            values = read_table(path, "scores", ["score"])["score"].sort_values(ascending=False)
            top = top_heads(0.1, len(values))
            share = values.iloc[:top].sum() / values.sum() * 100
            said.append(f"{top} of {len(values)} heads hold {share:.0f} % of the visual score.")
    return said


def _latency(efficiency: Paths, model: str) -> list[str]:
    if not as_paths(efficiency):
        return []
    frame = read_efficiency(efficiency)
    frame = frame[frame["model"] == model]
    medians = frame.groupby(["input_tokens", "policy"])[["decode_ms_per_token", "cache_bytes"]].median()
    said = []
    for tokens in sorted(set(frame["input_tokens"])):
        at = medians.loc[tokens]
        if {"fullkv", "sparsemm"} <= set(at.index):
            full, ours = at.loc["fullkv"], at.loc["sparsemm"]
            said.append(
                f"at {tokens} input tokens SparseMM decodes in {ours['decode_ms_per_token']:.2f} ms per token, "
                f"FullKV in {full['decode_ms_per_token']:.2f} ms "
                f"({full['decode_ms_per_token'] / ours['decode_ms_per_token']:.2f} times as long), with "
                f"{ours['cache_bytes'] / full['cache_bytes'] * 100:.1f} % of its K and V."
            )
    return said


def _masking(masks: Paths, model: str, predictions: Paths) -> list[str]:
    if not as_paths(masks):
        return []
    frame = read_masks(masks, predictions)
    frame = frame[frame["model"] == model]
    said = []
    for _, benchmark in panels(frame):
        where = f"masks of {model} on {benchmark}"
        rows = part(frame, model, benchmark)
        matrix = score_matrix(rows, ["kind", "fraction", "seed"], where)
        if matrix.empty:
            continue
        images = images_of(rows, matrix)
        if not {"none", "visual", "random"} <= set(matrix.columns.get_level_values("kind")):
            continue
        full = matrix["none"].to_numpy().mean()
        for fraction in sorted(set(matrix["visual"].columns.get_level_values("fraction"))):
            visual, random = (matrix[kind][fraction].mean(axis=1).to_numpy() for kind in ("visual", "random"))
            test = paired_bootstrap(visual, random, clusters=images)
            verdict = "more" if test.high < 0 else "less" if test.low > 0 else "not clearly more or less"
            said.append(
                f"masking {fraction * 100:g} % of the heads on {benchmark} takes the score from {full:.3f} to "
                f"{visual.mean():.3f} (visual heads) and {random.mean():.3f} (random heads): visual heads "
                f"matter {verdict}."
            )
    return said
