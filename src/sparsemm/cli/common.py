"""Shared by the commands: options, loading a model with progress, finding scores, checks, text tables."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsemm.errors import InputError
from sparsemm.heads.score_files import SCORES_FILE
from sparsemm.heads.scores import HeadScores
from sparsemm.heads.sharing import scores_at

if TYPE_CHECKING:
    from sparsemm.models import Loaded

_SLOW_BYTES = 500_000_000  # larger weights take seconds to load


def command(commands: Any, name: str, *, summary: str, text: str, examples: str) -> argparse.ArgumentParser:
    """The parser of one command, with the options of all commands.

    Args:
        commands: argparse's subparsers.
        name: of the command.
        summary: one line, for the list of commands.
        text: description in the command's help.
        examples: command lines at the end of the help.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=text,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.add_argument("--quiet", action="store_true", help="show no progress bars")
    return parser


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the options --device and --dtype."""
    parser.add_argument(
        "--device", default="cpu", metavar="D", help="cpu, cuda or cuda:N (default: %(default)s)"
    )
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=("float32", "float16", "bfloat16"),
        help="precision of weights and cache (default: %(default)s)",
    )


def at_least(least: int) -> Any:
    """An argparse type: a whole number that is at least `least`."""

    def whole(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is below {least}")
        return value

    return whole


def load(args: argparse.Namespace) -> Loaded:
    """Load the model of --model onto --device, with a progress bar if its weights are large."""
    from transformers.utils import logging

    from sparsemm.models import load_model

    with bar_of_weights(logging, not args.quiet and _weight_bytes(Path(args.model)) > _SLOW_BYTES):
        return load_model(args.model, device=args.device, dtype=args.dtype)


@contextmanager
def bar_of_weights(logging: Any, shown: bool) -> Iterator[None]:
    """Switch transformers' progress bars on or off inside the block; restore the setting afterwards."""
    before = logging.is_progress_bar_enabled()
    switch = {True: logging.enable_progress_bar, False: logging.disable_progress_bar}
    switch[shown]()
    try:
        yield
    finally:
        switch[before]()


def _weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def find_scores(scores: str | None, model: str | None) -> HeadScores:
    """Head scores of a file, folder or repository ("hub:owner/name"), else those in the model's folder.

    Raises:
        InputError: if there are none; the message says how to make them.
    """
    if scores is not None:
        return scores_at(scores)
    if model is None:
        raise InputError("no scores to use; give --scores PATH, or --model PATH whose folder holds them")
    kept = Path(model) / SCORES_FILE
    text_config(model)
    if not kept.is_file():
        raise InputError(
            f"{kept}: no head scores there; make them with `sparsemm heads --model {model} --save`, or give "
            "--scores PATH"
        )
    return HeadScores.from_pretrained(model)


def text_config(model: str) -> dict[str, Any]:
    """The text model's part of a model's config.json.

    Raises:
        InputError: if there is none or it cannot be read.
    """
    path = Path(model) / "config.json"
    if not path.parent.is_dir():
        raise InputError(f"{model}: no such model folder; give the folder of a transformers model")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        text: dict[str, Any] = dict(config.get("text_config") or config)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: not a readable transformers config; give a model's folder") from error
    return text


def check_writable(option: str, path: str | Path | None, suffixes: tuple[str, ...]) -> None:
    """Raise InputError for an output file with another suffix than `suffixes`, or one that cannot be written."""
    if path is None:
        return
    if Path(path).suffix not in suffixes:
        raise InputError(
            f"{option}: {path} ends in none of {', '.join(suffixes)}; choose a name with one of these"
        )
    folder = Path(path).absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)) or Path(path).is_dir():
        raise InputError(f"{option}: {path} cannot be written; choose a file in a writable folder")


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A text table: the first column left-aligned, the others right-aligned."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(header))]
    lines = []
    for row in cells:
        first, *others = (
            f"{cell:<{w}}" if not i else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def size(count: float) -> str:
    """A number of bytes as text: "3.4 MiB"."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"
