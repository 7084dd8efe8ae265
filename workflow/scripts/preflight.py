"""Check access, disk, memory and hours before anything runs; print and write the report, fail if one lacks."""

import os
from pathlib import Path

from job import job

terminal = os.dup(1)
with job(snakemake):
    from sparsemm.errors import InputError
    from sparsemm.preflight.check import Asked, preflight
    from sparsemm.preflight.report import report
    from sparsemm.results.files import atomic_write

    params = snakemake.params
    results = Path(params.results)
    asked = Asked(params.config, params.cells, params.jobs, results, int(params.gpus))
    checked = preflight(asked)
    text = report(checked)
    with atomic_write(results / "preflight.md") as partial:
        partial.write_text(text, encoding="utf-8")
    print(text)
    os.write(terminal, text.encode())
    if checked.faults:
        raise InputError(
            f"preflight: {len(checked.faults)} faults, listed above and in {results}/preflight.md; mend them and run "
            "it again"
        )
