"""`sparsemm`: ask about images under a compressed cache, score a model's heads, audit budgets.

Every command returns one JSON-able dictionary; `--json` prints it, else the command makes text of it. Bad input
is one line on stderr and exit code 2, Ctrl-C is 130. torch is imported only by commands that run a model.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import sparsemm
from sparsemm.cli import answer, audit, heads
from sparsemm.errors import InputError

_COMMANDS = (answer, heads, audit)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
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
    """Run one command line; the exit code: 0 done, 1 out of memory, 2 bad usage or input, 130 interrupted."""
    try:
        args = make_parser().parse_args(argv)
        result: dict[str, Any] = args.run(args)
        print(json.dumps(result) if args.json else args.show(result), flush=True)
    except SystemExit as ended:  # argparse ends --help, --version and bad usage so
        return ended.code if isinstance(ended.code, int) else 2
    except InputError as error:
        print(f"sparsemm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe (head, less) has left: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, RuntimeError) as error:
        if type(error).__name__ not in (
            "MemoryError",
            "OutOfMemoryError",
        ):  # torch's own, without importing torch
            raise
        print(
            "sparsemm: out of memory; use a smaller --dtype, a smaller image or another --device",
            file=sys.stderr,
        )
        return 1
    return 0
