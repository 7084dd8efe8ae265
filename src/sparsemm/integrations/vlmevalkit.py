"""Predictions as VLMEvalKit's result tables, so that its `run.py --mode eval` can score them.

The format, as read in its source: `infer_data_job` (vlmeval/inference.py) writes the data set's own table
without the column `image` and with a column `prediction` to `<work_dir>/<model>_<data set>.<format>`;
`run.py` has a work_dir per model. `get_pred_file_format` (vlmeval/smp/file.py) takes xlsx unless
PRED_FORMAT is tsv or json; `dump_tsv` quotes every cell. Tables have `index`, `question`, `answer`; options
are columns A, B, C, D. Several right answers are one cell with a Python list, which `process_line`
(vlmeval/dataset/utils/vqa_eval.py) evaluates; OCRBench's always is one, and its `category` is what the data
set calls question_type (vlmeval/dataset/image_vqa.py).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sparsemm.integrations.answered import Answered
from sparsemm.results.files import atomic_write

# Columns of multiple-choice tables, taken over where a data set has them.
_CHOICES = ("hint", "A", "B", "C", "D", "category", "l2-category", "split")
_LISTS = ("ocrbench",)  # benchmarks whose answer is a list even if there is one


def write_vlmevalkit(cells: Iterable[Answered], folder: str | Path) -> list[Path]:
    """Write `<folder>/<model>-<cell>/<model>-<cell>_<benchmark>.tsv` for every cell; returns the files.

    Args:
        cells: from `answered`.
        folder: VLMEvalKit's output folder.

    Raises:
        InputError: for a folder that cannot be written, and as `answered`.
    """
    written = []
    for cell in cells:
        path = Path(folder) / cell.name / f"{cell.name}_{cell.benchmark}.tsv"
        rows = {sample: _as_there(asked.row) for sample, asked in cell.asked.items()}
        known = [name for name in _CHOICES if any(name in row for row in rows.values())]
        with atomic_write(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n")
            writer.writerow(["index", "question", *known, "answer", "prediction", "sample_id"])
            for sample, prediction in zip(cell.answers["sample_id"], cell.answers["prediction"]):
                asked = cell.asked[sample]
                own = [rows[sample].get(name, "") for name in known]
                single = len(asked.answers) == 1 and cell.benchmark not in _LISTS
                answer = asked.answers[0] if single else repr(list(asked.answers))
                index = asked.row.get("index", asked.place)
                writer.writerow([index, asked.question, *own, answer, prediction, sample])
        written.append(path)
    return written


def _as_there(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its columns named as in VLMEvalKit's tables."""
    return row | {"category": row["question_type"]} if "question_type" in row else row
