"""The command line `sparsemm`: compressed answers, head scores, audit of budgets, checks and exports of results.

Every command returns a JSON-able dictionary, printed with `--json` or else formatted as text. Bad input is one line on
stderr and exit code 2; Ctrl-C is 130. Only commands that run a model import torch.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import sparsemm
from sparsemm.cli import answer, audit, export, heads, verify
from sparsemm.errors import InputError, one_line

_COMMANDS = (answer, heads, audit, verify, export)


class _Parser(argparse.ArgumentParser):
    """A parser that reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with code 2."""
        self.exit(2, f"sparsemm: {message}; see `{self.prog} --help`\n")


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(
        prog="sparsemm",
        description="Compress the KV cache of a vision-language model, and see which of its heads look at the image.",
        epilog="`sparsemm COMMAND --help` explains each command with examples.",
    )
    parser.add_argument("--version", action="version", version=f"sparsemm {sparsemm.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: its words; None for those of the process.

    Returns:
        The exit code: 0 done, 1 out of memory or what `verify` found, 2 bad usage or input, 130 interrupted.
    """
    try:
        args = make_parser().parse_args(argv)
        result: dict[str, Any] = args.run(args)
        print(json.dumps(result) if args.json else args.show(result), flush=True)
        return int(args.code(result)) if hasattr(args, "code") else 0
    except SystemExit as ended:  # raised by argparse for --help, --version and bad usage
        return ended.code if isinstance(ended.code, int) else 2
    except InputError as error:
        print(f"sparsemm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe (head, less) has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a disk that is full, a name that is too long, a file that may not be read
        print(f"sparsemm: {one_line(f'{error.filename}: {error.strerror}')}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        # By name: torch's OutOfMemoryError is recognised without importing torch.
        if type(error).__name__ not in ("MemoryError", "OutOfMemoryError"):
            raise
        print(
            "sparsemm: out of memory; use a smaller --dtype, a smaller image or another --device",
            file=sys.stderr,
        )
        return 1
