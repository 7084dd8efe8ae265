"""The targets of this call of Snakemake, which it does not tell a Snakefile while that is read, and what they need."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from values import ConfigError

# Targets that read result files alone.
DRAWN = frozenset({"figures", "claims", "explorer", "paper"})
# The run that the repository holds: its results are read, never made or changed by a rule.
REFERENCE = "reference"


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


def drawn_from_results(asked: set[str], run: str, files: Sequence[str]) -> bool:
    """Whether only tables, figures or the page are asked for, and all result files that they read are there.

    Args:
        asked: targets of this call.
        run: the run's name.
        files: result files that tables and figures read.

    Raises:
        ConfigError: where what is missing cannot be made: in the reference run, or without torch.
    """
    only = bool(asked) and asked <= DRAWN
    missing = [file for file in files if not Path(file).exists()]
    if run == REFERENCE and not only:
        raise ConfigError(
            f"run: {REFERENCE} is the run in the repository, which no rule changes; ask for one of "
            f"{', '.join(sorted(DRAWN))}, or take another name"
        )
    if only and missing and (run == REFERENCE or importlib.util.find_spec("torch") is None):
        what = f"results/{run}: {len(missing)} of {len(files)} result files are missing, {missing[0]} for one"
        if run == REFERENCE:
            raise ConfigError(f"{what}; `sparsemm export` makes this folder from a finished run")
        raise ConfigError(f"{what}, and without torch no model runs; `make setup` installs it")
    return only and not missing
