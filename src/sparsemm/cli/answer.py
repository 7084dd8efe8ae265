"""`sparsemm answer`: answers a question about one image or several with a compressed cache, and with the full one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sparsemm.cli.common import add_device, at_least, command, find_scores, load, size, table
from sparsemm.errors import InputError
from sparsemm.methods import METHODS, RANKERS

if TYPE_CHECKING:
    from PIL.Image import Image

    from sparsemm.models import Loaded
    from sparsemm.policies import Policy

_EXAMPLES = """\
  sparsemm answer page.png "What is the total?" --model models/llava --budget 256 --compare
  sparsemm answer page.png "Read line 2." --model models/llava --policy snapkv --budget 128
  sparsemm answer a.png b.png "What differs?" --model models/llava --policy "sparsemm[waterfill=true]" --json"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "answer",
        summary="answer a question about an image with a compressed cache",
        text="Answer a question about one image (or several) while the KV cache holds only what the policy keeps.\n"
        "Decoding is greedy. Prints the answer, tokens kept, bytes of K and V kept and the time taken.",
        examples=_EXAMPLES,
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image file; several make one prompt")
    parser.add_argument("question", metavar="QUESTION", help="what to ask")
    parser.add_argument("--model", required=True, metavar="PATH", help="folder of a transformers model")
    parser.add_argument(
        "--policy",
        default="sparsemm",
        metavar="P",
        help=f"{', '.join(METHODS)}; settings go in brackets: sparsemm[waterfill=true]; what orders the tokens goes "
        f"after an @: sparsemm@key_norm ({', '.join(RANKERS)}; default: %(default)s)",
    )
    parser.add_argument(
        "--budget",
        type=at_least(1),
        default=256,
        metavar="N",
        help="prompt tokens kept per KV head, mean over the model, window included (default: %(default)s)",
    )
    parser.add_argument(
        "--window",
        type=at_least(1),
        default=32,
        metavar="N",
        help="newest prompt tokens, always kept (default: %(default)s)",
    )
    parser.add_argument(
        "--rho",
        type=float,
        default=0.1,
        metavar="X",
        help="share of the budget that every head gets, 0 to 1; sparsemm, random_heads (default: %(default)s)",
    )
    parser.add_argument(
        "--scores",
        metavar="PATH",
        help="head scores: .parquet, published .json, or hub:OWNER/NAME "
        "(default: head_scores.parquet in the model's folder)",
    )
    parser.add_argument("--any-scores", action="store_true", help="use scores recorded for another model too")
    parser.add_argument(
        "--max-new-tokens",
        type=at_least(1),
        default=128,
        metavar="N",
        help="longest answer, tokens (default: %(default)s)",
    )
    parser.add_argument(
        "--show",
        dest="picture",
        metavar="FILE",
        help="write a picture of the image tokens that were kept, head by head (.png or .pdf; one more prefill)",
    )
    parser.add_argument("--compare", action="store_true", help="answer with the full cache too")
    parser.add_argument(
        "--storage",
        default="auto",
        choices=("auto", "int8", "int4"),
        help="bits of the kept tokens: auto keeps the precision of --dtype (default: %(default)s)",
    )
    add_device(parser)
    parser.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command. Images, policy and scores are checked before the model is loaded."""
    images = [open_image(name) for name in args.images]
    policy = _policy(args)
    if args.picture is not None:
        from sparsemm.cli.kept_picture import check_picture, draw_kept

        check_picture(args.picture, len(images), policy)
    loaded = load(args)
    result = {"model": loaded.name, "device": args.device, "dtype": args.dtype, "storage": args.storage}
    result |= {"policy": args.policy, "budget": policy.budget, "window": policy.window}
    result["images"], result["question"] = args.images, args.question
    result |= ask(loaded, policy, images, args, args.storage)
    if args.picture is not None:
        draw_kept(args.picture, loaded, policy, images[0], args.question)
        result["picture"] = args.picture
    if not args.compare:
        return result | {"full": None}
    from sparsemm.policies import FullKV

    # The full cache runs second, so that the cost of a process's first call does not favour compression.
    return result | {"full": ask(loaded, FullKV(), images, args)}


def _policy(args: argparse.Namespace) -> Policy:
    from sparsemm.policies import make_policy, parse_label
    from sparsemm.policies.registry import needs_scores

    scores = None
    name, settings, _, _ = parse_label(args.policy)
    if needs_scores(name) and "scores" not in settings:
        scores = find_scores(args.scores, args.model)
    return make_policy(args.policy, budget=args.budget, window=args.window, rho=args.rho, scores=scores)


def open_image(name: str) -> Image:
    """The RGB image of a file.

    Raises:
        InputError: if there is none or it cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(name) as opened:
            return opened.convert("RGB")
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such image; check the path") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: not a readable image; give a PNG or JPEG file") from error


def ask(
    loaded: Loaded, policy: Policy, images: Sequence[Image], args: argparse.Namespace, storage: str = "auto"
) -> dict[str, Any]:
    """Answer once, greedily, under a policy.

    Args:
        loaded: model and processor.
        policy: what the cache keeps.
        images: of the prompt.
        args: the command line, for the question and the limits.
        storage: of the kept tokens: auto, int8 or int4.

    Returns:
        The text, token and byte counts, and times (of one run, without warm-up).
    """
    import torch

    from sparsemm.cli.progress import GenerationProgress
    from sparsemm.generation.compress import compress
    from sparsemm.models import build_inputs

    inputs = build_inputs(loaded, [list(images)], [args.question], loaded.model.device)
    prompt = inputs["input_ids"].shape[1]
    tokenizer, model = loaded.processor.tokenizer, loaded.model
    with (
        torch.no_grad(),
        compress(model, policy, any_scores=args.any_scores, storage=storage) as kept,
        GenerationProgress(model, policy.name, args.max_new_tokens, shown=not args.quiet) as progress,
    ):
        generate: Any = model.generate
        options = {"max_new_tokens": args.max_new_tokens, "do_sample": False, "streamer": progress}
        output = generate(**inputs, **options, pad_token_id=_pad(tokenizer))
        return {
            "text": tokenizer.decode(output[0, prompt:].tolist(), skip_special_tokens=True).strip(),
            "prompt_tokens": prompt,
            "new_tokens": output.shape[1] - prompt,
            "kept_tokens": float(kept.kept.double().mean()),
            "cache_bytes": kept.cache_bytes,
            "reserved_bytes": kept.reserved_bytes,
            "prefill_seconds": progress.prefill_seconds,
            "decode_ms_per_token": progress.decode_ms_per_token,
        }


def _pad(tokenizer: Any) -> int:
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def show(result: dict[str, Any]) -> str:
    """The result as text: the answer, then a table with one row per run."""
    label = result["policy"] if result["budget"] is None else f"{result['policy']} at {result['budget']}"
    label += "" if result["storage"] == "auto" else f", {result['storage']}"
    runs = [(label, result)] + ([("full cache", result["full"])] if result["full"] else [])
    header = ["", "prompt tokens", "kept a head", "K and V", "prefill", "decode", "answer tokens"]
    rows = [
        [
            name,
            each["prompt_tokens"],
            f"{each['kept_tokens']:.1f}",
            size(each["cache_bytes"]),
            f"{each['prefill_seconds']:.2f} s",
            "-" if each["decode_ms_per_token"] is None else f"{each['decode_ms_per_token']:.1f} ms/token",
            each["new_tokens"],
        ]
        for name, each in runs
    ]
    lines = [result["text"], "", table(header, rows)]
    if "picture" in result:
        lines.append(f"image tokens kept: {result['picture']}")
    if result["full"]:
        lines[0] = f"{label}: {result['text']}\nfull cache: {result['full']['text']}"
        lines.append("One run each, the full cache second: times are an impression, not a measurement.")
    return "\n".join(lines)
