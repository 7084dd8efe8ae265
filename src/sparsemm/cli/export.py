"""`sparsemm export`: a run's results for the repository, or its predictions in another tool's format."""

from __future__ import annotations

import argparse
from typing import Any

from sparsemm.cli.common import at_least, command, size

_EXAMPLES = """\
  sparsemm export results/embedded --to reference --out results/reference"""
FORMATS = ("reference",)


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "export",
        summary="write a run's results in another form",
        text="Write the results of a finished run in another form. No model is run.\n"
        "  reference   a small copy from which every table and figure can be made again: the same values, the best\n"
        "              compression, of the probe set the first pages",
        examples=_EXAMPLES,
    )
    parser.add_argument("run_folder", metavar="RUN", help="folder of a run, such as results/embedded")
    parser.add_argument("--to", required=True, choices=FORMATS, help="the form")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="to write; must be new or empty")
    parser.add_argument(
        "--pages", type=at_least(1), default=24, help="reference: probe pages kept (default: %(default)s)"
    )
    parser.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command."""
    from sparsemm.results.slimming import slim_run

    return {"out": args.out, "to": args.to, **slim_run(args.run_folder, args.out, pages=args.pages)._asdict()}


def show(found: dict[str, Any]) -> str:
    """The result as text."""
    return (
        f"{found['out']}: {found['files']} result files, {size(found['bytes_after'])} "
        f"(the run's own: {found['files'] + found['left_out']} files, {size(found['bytes_before'])})"
    )
