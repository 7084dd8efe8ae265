"""`sparsemm export`: a run's results for the repository, or its predictions in another tool's format."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sparsemm.cli.common import at_least, command, size

_EXAMPLES = """\
  sparsemm export results/embedded --to reference --out results/reference
  sparsemm export results/embedded --to vlmevalkit --out outputs
  sparsemm export results/embedded --to lmms-eval --out logs"""
FORMATS = ("reference", "vlmevalkit", "lmms-eval")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "export",
        summary="write a run's results in another form",
        text="Write the results of a finished run in another form. No model is run.\n"
        "  reference   a small copy from which every table and figure can be made again: the same values, the best\n"
        "              compression, of the probe set the first pages\n"
        "  vlmevalkit  its result tables (.tsv), one a model, cell and benchmark\n"
        "  lmms-eval   its sample logs (.jsonl), likewise",
        examples=_EXAMPLES,
    )
    parser.add_argument("run_folder", metavar="RUN", help="folder of a run, such as results/embedded")
    parser.add_argument("--to", required=True, choices=FORMATS, help="the form")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="to write; new or empty for reference")
    parser.add_argument(
        "--pages", type=at_least(1), default=24, help="reference: probe pages kept (default: %(default)s)"
    )
    parser.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command."""
    found: dict[str, Any] = {"out": args.out, "to": args.to}
    if args.to == "reference":
        from sparsemm.results.slimming import slim_run

        return found | slim_run(args.run_folder, args.out, pages=args.pages)._asdict()
    from sparsemm.integrations.answered import answered

    cells = answered(args.run_folder)
    if args.to == "vlmevalkit":
        from sparsemm.integrations.vlmevalkit import write_vlmevalkit

        return found | {"files": len(write_vlmevalkit(cells, args.out))}
    from sparsemm.integrations.lmms_eval_logs import write_sample_logs

    made = max(
        (p.stat().st_mtime for p in Path(args.run_folder).glob("predictions/*/*/*.parquet")), default=0.0
    )
    return found | {"files": len(write_sample_logs(cells, args.out, made=made))}


def show(found: dict[str, Any]) -> str:
    """The result as text."""
    if found["to"] != "reference":
        return f"{found['out']}: {found['files']} files in the format of {found['to']}"
    return (
        f"{found['out']}: {found['files']} result files, {size(found['bytes_after'])} "
        f"(the run's own: {found['files'] + found['left_out']} files, {size(found['bytes_before'])})"
    )
