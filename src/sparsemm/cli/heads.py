"""`sparsemm heads`: the visual scores of a model's query heads, as a table, a figure and a scores file."""

from __future__ import annotations

import argparse
import tempfile
from math import ceil
from pathlib import Path
from typing import Any

from sparsemm.cli.common import (
    add_device,
    at_least,
    check_writable,
    command,
    find_scores,
    load,
    table,
    text_config,
)
from sparsemm.cli.verify_heads import shown, verified
from sparsemm.errors import InputError
from sparsemm.heads.score_files import SCORES_FILE
from sparsemm.heads.scores import HeadScores
from sparsemm.methods import CONVENTIONS, GENERATIONS, MATCHINGS, NO_MATCH, POSITIONS
from sparsemm.results.files import atomic_write

_EXAMPLES = """\
  sparsemm heads --model models/llava --save                    score, keep head_scores.parquet with the model
  sparsemm heads --model models/llava --images 200 --figure heads.png
  sparsemm heads --scores head_scores/llava.json --top 10       look at scores made elsewhere
  sparsemm heads --model models/llava --verify llava.json       do fresh scores agree with those?"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "heads",
        summary="score a model's heads on generated pages; table and heat map",
        text="Show a model's visual heads: those that look at a word in the image while they write it.\n"
        "With --scores the file is shown; without, the model of --model reads pages and its heads are scored.",
        examples=_EXAMPLES,
    )
    parser.add_argument("--model", metavar="PATH", help="folder of a transformers model, to score its heads")
    parser.add_argument("--scores", metavar="PATH", help="show these scores, .parquet or published .json")
    parser.add_argument(
        "--verify",
        metavar="FILE",
        help="compare with the scores of FILE, .parquet or published .json: rank correlation, shared best heads, and "
        "the settings that may explain a difference",
    )
    parser.add_argument(
        "--top", type=at_least(1), default=20, metavar="N", help="heads listed (default: %(default)s)"
    )
    parser.add_argument("--figure", metavar="FILE", help="draw scores to FILE, .png or .pdf")
    parser.add_argument(
        "--save",
        nargs="?",
        const="",
        metavar="FILE",
        help=f"write the scores: a .parquet or .json FILE (without FILE: {SCORES_FILE} in the model's folder)",
    )
    parser.add_argument(
        "--images",
        type=at_least(1),
        default=50,
        metavar="N",
        help="pages to read (default: %(default)s)",
    )
    parser.add_argument(
        "--probe",
        metavar="FOLDER",
        help="read pages of a local copy of synthdog-en-detection in place of generated ones",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the generated pages (default: %(default)s)")
    parser.add_argument(
        "--max-new-tokens",
        type=at_least(1),
        default=256,
        metavar="N",
        help="longest reading of a page, tokens (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-size",
        type=at_least(1),
        default=8,
        metavar="N",
        help="pages read at once (default: %(default)s)",
    )
    parser.add_argument(
        "--matching",
        default="stripped",
        choices=MATCHINGS,
        help="how a token finds its word: the only word that holds its text, or its string as the authors' code has "
        "it, or by alignment (default: %(default)s)",
    )
    parser.add_argument(
        "--convention",
        default="released",
        choices=CONVENTIONS,
        help="image tokens that count: high resolution only, or all (default: %(default)s)",
    )
    parser.add_argument(
        "--positions",
        default="mrope",
        choices=POSITIONS,
        help="Qwen: the model's positions, or plain ones as in the authors' code (default: %(default)s)",
    )
    parser.add_argument(
        "--generation",
        default="model",
        choices=GENERATIONS,
        help="greedy with what else the checkpoint asks for, or greedy alone (default: %(default)s)",
    )
    parser.add_argument(
        "--no-match",
        default="error",
        choices=NO_MATCH,
        help="where no token matches a word: stop, or the same score for every head (default: %(default)s)",
    )
    add_device(parser)
    parser.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command: score a model or read a scores file, then write the files asked for."""
    target = _target(args)
    check_writable("--figure", args.figure, (".png", ".pdf"))
    check_writable("--save", target, (".parquet", ".json"))
    if args.scores is not None:
        scores = find_scores(args.scores, None)
        name = str(scores.metadata.get("model") or Path(args.scores).stem)
        if args.model is not None:
            text = text_config(args.model)
            sizes = {
                "num_layers": text.get("num_hidden_layers"),
                "num_heads": text.get("num_attention_heads"),
            }
            scores.require_model(Path(args.model).resolve().name, **sizes)
    elif args.model is not None:
        scores = _score(args)
        name = str(scores.metadata["model"])
    else:
        raise InputError("heads: no model and no scores; give --model PATH or --scores PATH")
    against = None if args.verify is None else verified(scores, args.verify)
    if args.save == "":
        scores.save_pretrained(args.model)
    elif target is not None:
        scores.save(target)
    if args.figure is not None:
        draw(scores, name, Path(args.figure))
    layers, heads = scores.values.shape
    return {
        "model": name,
        "layers": layers,
        "heads": heads,
        "matched_tokens": scores.matched,
        "shares": [
            {
                "fraction": part,
                "heads": max(1, ceil(part * layers * heads - 1e-9)),
                "share": scores.top_share(part),
            }
            for part in (0.01, 0.02, 0.05, 0.1, 0.2)
        ],
        "top": [
            {"rank": rank, "layer": layer, "head": head, "score": float(scores.values[layer, head])}
            for rank, (layer, head) in enumerate(scores.ranking()[: args.top], start=1)
        ],
        "saved": None if target is None else str(target),
        "figure": args.figure,
        "verified": against,
    }


def _target(args: argparse.Namespace) -> Path | None:
    if args.save is None:
        return None
    if args.save:
        return Path(args.save)
    if args.model is None:
        raise InputError("--save: without --model there is no folder to save to; give --save FILE")
    return Path(args.model) / SCORES_FILE


def _score(args: argparse.Namespace) -> HeadScores:
    """Score the heads of --model; the metadata says how."""
    from sparsemm.heads.probe import generate_probe
    from sparsemm.heads.scoring import score_heads
    from sparsemm.heads.synthdog import read_synthdog

    if args.probe is None:
        probe, made = generate_probe(args.images, args.seed), {"dataset": "generated", "seed": args.seed}
    else:
        probe, made = read_synthdog(args.probe, args.images), {"dataset": "synthdog-en-detection"}
    loaded = load(args)
    return score_heads(
        loaded.model,
        loaded.processor,
        probe,
        max_new_tokens=args.max_new_tokens,
        batch_size=args.batch_size,
        matching=args.matching,
        convention=args.convention,
        positions=args.positions,
        generation=args.generation,
        no_match=args.no_match,
        progress=not args.quiet,
        metadata=made | {"model": loaded.name, "model_revision": loaded.revision},
    )


def draw(scores: HeadScores, name: str, path: Path) -> None:
    """Draw figure 2 of one model (heat map, sorted scores, cumulative share) to a .png or .pdf file."""
    from sparsemm.reporting.figures.heatmap import figure2

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.parquet"
        scores.save(file)
        figure2([file], file.with_name("drawn"))
        with atomic_write(path) as partial:
            partial.write_bytes(file.with_name(f"drawn{path.suffix}").read_bytes())


def show(result: dict[str, Any]) -> str:
    """The result as text: the best heads, then the shares of the score that they hold."""
    rows = [
        [each["rank"], each["layer"], each["head"], f"{each['score'] * 100:.2f} %"] for each in result["top"]
    ]
    total = result["layers"] * result["heads"]
    shares = {
        each["heads"]: f"{each['heads']} of {total} hold {each['share']:.0%}" for each in result["shares"]
    }
    lines = [
        f"{result['model']}: {result['layers']} layers x {result['heads']} query heads",
        table(["rank", "layer", "head", "visual score"], rows),
        f"best heads: {', '.join(shares.values())} of the score",
    ]
    lines += shown(result["verified"]) if result["verified"] else []
    lines += [f"written: {result[key]}" for key in ("saved", "figure") if result[key]]
    return "\n".join(lines)
