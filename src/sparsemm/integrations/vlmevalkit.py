"""Predictions as VLMEvalKit's result tables, so that its `run.py --mode eval` can score them.

The format, as read in its source: `infer_data_job` (vlmeval/inference.py) writes the data set's own table without the
column `image` and with a column `prediction` to `<work_dir>/<model>_<data set>.<format>`; `run.py` has a work_dir per model.
`get_pred_file_format` (vlmeval/smp) takes xlsx unless PRED_FORMAT is tsv or json; `dump_tsv` writes all cells in quotes. Tables have
`index`, `question`, `answer`; options are columns A, B, C, D. Several right answers are one cell that holds a Python list
(`process_line`, vlmeval/dataset/utils/vqa_eval.py, evaluates it).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from sparsemm.integrations.answered import Answered, Asked
from sparsemm.results.files import atomic_write

# Columns of multiple-choice tables, taken over where a data set has them.
_CHOICES = ("hint", "A", "B", "C", "D", "category", "l2-category", "split")


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
        known = [name for name in _CHOICES if any(name in asked.row for asked in cell.asked.values())]
        with atomic_write(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n")
            writer.writerow(["index", "question", *known, "answer", "prediction", "sample_id"])
            for sample, prediction in zip(cell.answers["sample_id"], cell.answers["prediction"]):
                asked = cell.asked[sample]
                own = [asked.row.get(name, "") for name in known]
                index = asked.row.get("index", asked.place)
                writer.writerow([index, asked.question, *own, _answer(asked), prediction, sample])
        written.append(path)
    return written


def _answer(asked: Asked) -> str:
    """The right answer, or the list of them."""
    return asked.answers[0] if len(asked.answers) == 1 else repr(list(asked.answers))
