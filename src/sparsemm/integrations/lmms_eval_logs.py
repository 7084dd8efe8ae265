"""Predictions as lmms-eval's sample logs, for programs that read those.

The format, as read in its source: `EvaluationTracker.save_results_samples`
(lmms_eval/loggers/evaluation_tracker.py) writes `<output>/<model>/<date>_samples_<task>.jsonl`, a JSON
object a line: doc_id, target, filtered_resps, doc_hash, the metrics by name, and `input`, the first
argument of the request. `resps` is left out where it equals filtered_resps; `doc` and `arguments` are taken
out. Hashes are those of lmms_eval/evaluator.py (`hash_string`: hex sha256; doc_hash is of the doc as JSON
with indent 2).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from sparsemm.integrations.answered import Answered
from sparsemm.results.files import atomic_write
from sparsemm.results.provenance import jsonable

METRIC = "score"  # the benchmark's own metric, in 0 to 1


def write_sample_logs(cells: Iterable[Answered], folder: str | Path, *, made: float) -> list[Path]:
    """Write `<folder>/<model>-<cell>/<date>_samples_<benchmark>.jsonl` for every cell; returns the files.

    Args:
        cells: from `answered`.
        folder: lmms-eval's output folder.
        made: when the predictions were made, seconds since 1970; in the file's name.

    Raises:
        InputError: for a folder that cannot be written, and as `answered`.
    """
    date = datetime.fromtimestamp(made, UTC).strftime("%Y%m%d_%H%M%S")
    written = []
    for cell in cells:
        path = Path(folder) / cell.name / f"{date}_samples_{cell.benchmark}.jsonl"
        with atomic_write(path) as partial, open(partial, "w", encoding="utf-8") as file:
            for row in cell.answers.itertuples():
                asked = cell.asked[row.sample_id]
                target = asked.answers[0] if len(asked.answers) == 1 else str(list(asked.answers))
                doc = json.dumps(asked.row, indent=2, ensure_ascii=False, default=jsonable)
                line = {
                    "doc_id": asked.place,
                    "target": target,
                    "filtered_resps": [row.prediction],
                    "doc_hash": _hash(doc),
                    "prompt_hash": _hash(asked.prompt),
                    "target_hash": _hash(target),
                    "input": asked.prompt,
                }
                if not math.isnan(row.score):
                    line[METRIC] = row.score
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        written.append(path)
    return written


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
