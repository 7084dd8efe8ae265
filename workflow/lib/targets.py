"""The targets of this call of Snakemake, which it does not tell a Snakefile while that is read (9.27)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def asked_targets(argv: Sequence[str] | None = None) -> set[str]:
    """The targets on the command line, by Snakemake's own parser; none where Snakemake is called in another way.

    Args:
        argv: program and arguments; those of this process by default.
    """
    from snakemake.cli import get_argument_parser

    program, *arguments = sys.argv if argv is None else argv
    if Path(program).name != "snakemake" and Path(program).parts[-2:] != ("snakemake", "__main__.py"):
        return set()
    return set(get_argument_parser().parse_known_args(arguments)[0].targets or ())
