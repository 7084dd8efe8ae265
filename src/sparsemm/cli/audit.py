"""`sparsemm audit`: the tokens that each policy keeps, against the budget asked for."""

from __future__ import annotations

import argparse
from typing import Any

from sparsemm.budget import audit
from sparsemm.cli.common import at_least, command, find_scores, table, text_config

_EXAMPLES = """\
  sparsemm audit --scores head_scores/llava.json --budgets 256 512 1024 2048 --prompt-tokens 2433
  sparsemm audit --model models/llava --budgets 128 --prompt-tokens 1000 4000 --json"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = command(
        commands,
        "audit",
        summary="nominal against effective budget of every policy",
        text="Tell how many prompt tokens per KV head each policy really keeps at a nominal budget. The released\n"
        "SparseMM recipe may give a head more than the prompt holds; that surplus is lost unless water-filled.\n"
        "AdaKV is left out: what it keeps depends on each prompt's attention. Nothing is run.",
        examples=_EXAMPLES,
    )
    parser.add_argument("--scores", metavar="PATH", help="head scores, .parquet or published .json")
    parser.add_argument("--model", metavar="PATH", help="folder of a model, for its scores and its KV heads")
    parser.add_argument(
        "--kv-heads",
        type=at_least(1),
        metavar="N",
        help="KV heads a layer (default: as the scores file or the model says, else one per query head)",
    )
    parser.add_argument(
        "--budgets",
        type=at_least(1),
        nargs="+",
        default=[64, 128, 256, 512, 1024, 2048],
        metavar="N",
        help="tokens per KV head, window included (default: 64 128 256 512 1024 2048)",
    )
    parser.add_argument(
        "--prompt-tokens",
        type=at_least(1),
        nargs="+",
        default=[2433],
        metavar="N",
        help="lengths of the prompt, tokens (default: 2433)",
    )
    parser.add_argument(
        "--window",
        type=at_least(1),
        default=32,
        metavar="N",
        help="newest tokens, always kept (default: %(default)s)",
    )
    parser.add_argument(
        "--rho",
        type=float,
        default=0.1,
        metavar="X",
        help="share of the budget that every head gets, 0 to 1 (default: %(default)s)",
    )
    parser.set_defaults(run=run, show=show)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command."""
    scores = find_scores(args.scores, args.model)
    kv_heads = args.kv_heads or scores.num_kv_heads or _configured(args.model) or scores.values.shape[1]
    rows = audit(
        scores.per_kv_head(kv_heads), args.budgets, args.prompt_tokens, window=args.window, rho=args.rho
    )
    return {
        "layers": scores.values.shape[0],
        "kv_heads": kv_heads,
        "window": args.window,
        "rho": args.rho,
        "rows": rows,
    }


def _configured(model: str | None) -> int | None:
    """KV heads per layer in a model's config.json, or None."""
    if model is None:
        return None
    text = text_config(model)
    found = text.get("num_key_value_heads") or text.get("num_attention_heads")
    return None if found is None else int(found)


def show(result: dict[str, Any]) -> str:
    """The result as text: one row per policy, budget and prompt length."""
    rows = [
        [
            each["policy"],
            "all" if each["policy"] == "fullkv" else each["budget"],
            each["prompt_tokens"],
            f"{each['effective']:.1f}",
            f"{round(each['lost'], 1) + 0.0:.1f}",
        ]
        for each in result["rows"]
    ]
    rows = list({tuple(row[:3]): row for row in rows}.values())  # the full cache is the same at every budget
    head = (
        f"{result['layers']} layers x {result['kv_heads']} KV heads, window {result['window']}, rho "
        f"{result['rho']:g}; tokens per KV head, mean over the model"
    )
    return head + "\n" + table(["policy", "budget", "prompt", "kept", "lost"], rows)
