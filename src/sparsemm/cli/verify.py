"""`sparsemm verify`: are the result files of a run whole and consistent, do they come out the same when they are made
again, and how do they agree with another run's?"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from sparsemm.cli.common import at_least, bar_of_weights, command
from sparsemm.errors import InputError

_EXAMPLES = """\
  sparsemm verify results/embedded
  sparsemm verify results/embedded --deep --seed 1
  sparsemm verify results/embedded --against results/reference"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "verify",
        summary="check the result files of a run, or compare two runs",
        text="Check every result file of a run: schema, one row a key, how it was made, every sample in every cell,\n"
        "no more tokens than the budget, tables that say what the predictions do. With --deep, answer a random 1 %\n"
        "of the rows of every predictions file again and compare; the model must be where the run found it, seen\n"
        "from here. With --against, tell of every file whether the other run's has the same bytes, the same\n"
        "values, or scores within its intervals. Exit code 1 if a fault was found, or a file that differs; files\n"
        "that only one run has are named. No model is run without --deep.",
        examples=_EXAMPLES,
    )
    parser.add_argument("run_folder", metavar="RUN", help="folder of a run, such as results/embedded")
    parser.add_argument("--against", metavar="RUN", help="folder of the run to compare with")
    parser.add_argument("--deep", action="store_true", help="answer a random 1 %% of the rows again")
    parser.add_argument("--seed", type=at_least(0), metavar="N", help="of --deep: which rows (default: 0)")
    parser.add_argument("--device", metavar="D", help="of --deep: cpu, cuda or cuda:N (default: the run's)")
    parser.set_defaults(run=run, show=show, code=code)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command."""
    from sparsemm.reporting.against import compare_runs, verify_tables
    from sparsemm.results.verify import result_files, verify_files

    if not args.deep and (args.seed is not None or args.device is not None):
        raise InputError("--seed and --device are of --deep: give it too, or leave them out")
    faults = verify_files(args.run_folder)
    # Tables cannot be compared with files that cannot be read.
    faults += [] if faults else verify_tables(args.run_folder)
    again = 0
    if args.deep and not faults:
        from transformers.utils import logging

        from sparsemm.evaluation.recompute import recompute

        with bar_of_weights(logging, False):
            again, faults = recompute(
                args.run_folder, seed=args.seed or 0, device=args.device, progress=not args.quiet
            )
    found: dict[str, Any] = {
        "run": args.run_folder,
        "files": len(result_files(args.run_folder)),
        "faults": [fault._asdict() for fault in faults],
    }
    if again:
        found["recomputed"] = again
    if args.against and not faults:
        found["against"] = args.against
        found["agreement"] = [each._asdict() for each in compare_runs(args.run_folder, args.against)]
    return found


def show(found: dict[str, Any]) -> str:
    """The result as text."""
    from sparsemm.reporting.against import MISSING

    lines = [f"{fault['file']}: {fault['text']}" for fault in found["faults"]]
    count = len(lines)
    lines.append(f"{found['run']}: {found['files']} result files, {count or 'no'} fault{'s' * (count != 1)}")
    if "recomputed" in found:
        again = found["recomputed"]
        lines.append(f"{again} row{'s' * (again != 1)} computed again")
    if "agreement" in found:
        counts = Counter(each["how"] for each in found["agreement"])
        lines += [
            f"{each['file']}: {each['how']}{each['detail'] and ', '}{each['detail']}"
            for each in found["agreement"]
            if each["detail"] and each["how"] != MISSING
        ]
        lines += _missing(found["agreement"])
        said = ", ".join(f"{number} {how}" for how, number in counts.most_common())
        lines.append(f"against {found['against']}: {said}")
    return "\n".join(lines)


def _missing(agreement: list[dict[str, Any]]) -> list[str]:
    """A line for each run that lacks files of the other, with their folders."""
    from sparsemm.reporting.against import MISSING

    lacking: dict[str, list[str]] = {}
    for each in agreement:
        if each["how"] == MISSING:
            lacking.setdefault(each["detail"], []).append(each["file"])
    return [
        f"{where}: {len(files)} file{'s' * (len(files) != 1)} of {', '.join(sorted({_stage(f) for f in files}))}"
        for where, files in lacking.items()
    ]


def _stage(file: str) -> str:
    """The stage that a result file is of: "probe/sets" of "probe/sets/wild/plain.parquet"."""
    first, *others = file.split("/")
    return f"{first}/sets" if others[:1] == ["sets"] else first


def code(found: dict[str, Any]) -> int:
    """Exit code: 1 if there is a fault or a file that differs."""
    from sparsemm.reporting.against import OTHER

    apart = any(each["how"] == OTHER for each in found.get("agreement", []))
    return int(bool(found["faults"]) or apart)
