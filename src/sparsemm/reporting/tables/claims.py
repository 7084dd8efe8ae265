"""The claims of the paper, judged on every model of a run, with the paper's numbers beside ours."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pandas as pd

from sparsemm.errors import InputError
from sparsemm.reporting.claims import HOLDS, NOT_RUN, VERDICTS, Claim, Evidence, judge
from sparsemm.reporting.claims.thresholds import ALPHA
from sparsemm.reporting.notes import run_notes
from sparsemm.reporting.summary import Paths, in_order
from sparsemm.reporting.tables.writing import MISSING, Cell, Row, write

COLUMNS = [
    "id",
    "model",
    "where",
    "verdict",
    "effect",
    "low",
    "high",
    "bound",
    "p_value",
    "paper",
    "paper_of",
]
COLUMNS += ["statement", "detail"]
_HEAD = ["claim", "statement", "model", "where", "detail", "effect", "bound", "paper", "verdict"]


def claims(
    stem: str | Path,
    *,
    predictions: Paths = (),
    run_scores: Paths = (),
    scores: Paths = (),
    samples: Paths = (),
    masks: Paths = (),
    efficiency: Paths = (),
    sets: Paths = (),
    paper: Paths = (),
) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: one row a claim, model and place (benchmark, share of heads, probe set).

    Args:
        stem: path of the table without its suffix.
        predictions, run_scores, scores, samples, masks, efficiency: the run's files of these kinds; where a claim's are
            missing it is "not run".
        sets: files of kind scores of further probe sets, named .../<set>/<model>.parquet.
        paper: the files of data/paper.

    Raises:
        InputError: for a file that cannot be read.
    """
    evidence = Evidence(
        predictions=predictions,
        run_scores=run_scores,
        scores=scores,
        samples=samples,
        masks=masks,
        efficiency=efficiency,
        sets=sets,
        paper=paper,
    )
    found = judge(evidence)
    numbers = pd.DataFrame([dataclasses.asdict(claim) for claim in found])[COLUMNS]
    notes = [*counts(found), *_ABOUT, *run_notes(predictions, run_scores=run_scores, scores=scores)]
    write(stem, numbers, _HEAD, [_row(claim) for claim in found], [f"- {note}" for note in notes], labels=5)


def read_claims(path: str | Path) -> list[Claim]:
    """The claims of a csv that `claims` wrote.

    Raises:
        InputError: for a file that is none.
    """
    words = {field.name: str for field in dataclasses.fields(Claim) if field.type == "str"}
    try:
        frame = pd.read_csv(path, dtype=words, keep_default_na=False, na_values=_NUMBERS)
        return [Claim(**{str(key): value for key, value in row.items()}) for row in frame.to_dict("records")]
    except (OSError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: no table of claims ({reason}); make it again with the target claims"
        ) from error


# Columns whose empty cells are numbers that are missing.
_NUMBERS = {name: [""] for name in ("effect", "low", "high", "bound", "p_value", "paper")}
_ABOUT = (
    f"Tests are one-sided at {ALPHA:g}: a claim that is false holds by chance in at most {ALPHA * 100:g} % of runs. "
    "Brackets are 95 % intervals of the shown comparison, not corrected for the number of comparisons.",
    "Where a row rests on several comparisons it shows the one that is furthest from passing; it holds where all do "
    "and fails where one does (Holm-corrected; for C3 over all comparisons of the model).",
    "The paper's number is of the same model and benchmark where it has them, else of its model that is most like "
    "ours (csv, paper_of). Margins and bounds: sparsemm/reporting/claims/thresholds.py.",
)


def counts(found: list[Claim]) -> list[str]:
    """How many rows of each model have each verdict, a sentence a model."""
    said = []
    for model in in_order(claim.model for claim in found):
        count = Counter(claim.verdict for claim in found if claim.model == model)
        said.append(
            f"{model}: " + ", ".join(f"{count[name]} {name}" for name in VERDICTS if count[name]) + "."
        )
    return said


def _row(claim: Claim) -> Row:
    effect = NOT_RUN if claim.verdict == NOT_RUN else f"{claim.effect:+.3f}"
    if pd.notna(claim.low):
        effect += f" [{claim.low:+.3f}, {claim.high:+.3f}]"
    paper = MISSING if pd.isna(claim.paper) else f"{claim.paper:+.3f}"
    shown: list[str | Cell] = [
        effect,
        f"{claim.bound:+.3f}",
        paper,
        Cell(claim.verdict, claim.verdict == HOLDS),
    ]
    return [claim.id, claim.statement, claim.model, claim.where or MISSING, claim.detail or MISSING, *shown]
