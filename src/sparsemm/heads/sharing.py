"""Head scores as a repository of the hub: a folder with a card, and scores read from one.

The folder is pushed with the hub's own command, `hf upload OWNER/NAME FOLDER`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sparsemm.errors import InputError
from sparsemm.heads.score_files import SAMPLES_FILE, SCORES_FILE
from sparsemm.results.files import atomic_write
from sparsemm.sources.hub import fetch, resolve

if TYPE_CHECKING:
    from sparsemm.heads.scores import HeadScores

CARD = "README.md"
HUB = "hub:"  # before a repository's id where a path could stand too
_SAID = (
    *("model", "model_revision", "dataset", "probe_images", "probe_sha256", "prompt", "max_new_tokens"),
    *("matching", "convention", "positions", "image_limits", "dtype", "seed", "git_revision"),
)
_BEST = 10  # heads that the card lists


def share(scores: HeadScores, folder: str | Path) -> Path:
    """Write the scores and a card into a folder of their own.

    Args:
        scores: what to share.
        folder: made if missing. A card that is there is written anew.

    Returns:
        The path of the card.

    Raises:
        InputError: for a folder that holds a model, whose card this is not, or cannot be written.
    """
    target = Path(folder)
    if (target / "config.json").is_file():
        raise InputError(f"{target}: holds a model, whose card would be replaced; give a folder of its own")
    scores.save_pretrained(target)
    with atomic_write(target / CARD) as partial:
        partial.write_text(card(scores), encoding="utf-8")
    return target / CARD


def card(scores: HeadScores) -> str:
    """The card's text, with the hub's tags: what was scored and how, how few heads hold the score, the best of them."""
    layers, heads = scores.values.shape
    model = str(scores.metadata.get("model", "a model that the file does not name"))
    shares = ", ".join(f"{share:.0%}: {scores.top_share(share):.3f}" for share in (0.01, 0.05, 0.1))
    lines = [
        "---",
        "library_name: sparsemm",
        "tags: [sparsemm, head-scores, kv-cache, interpretability]",
        "---",
        "",
        f"# Visual head scores of {model}",
        "",
        f"{layers} layers x {heads} query heads. A head scores where its attention peaks on the image tokens of the "
        "word that is being written ([SparseMM](https://arxiv.org/abs/2506.05344)); scores add up to 1.",
        f"Share of the score held by the best heads: {shares}.",
        "",
        "```python",
        "from sparsemm.heads.sharing import scores_from_hub",
        'scores = scores_from_hub("OWNER/NAME")',
        "```",
        "",
        "| layer | head | score |",
        "|--:|--:|--:|",
    ]
    best = scores.ranking()[:_BEST]
    lines += [f"| {layer} | {head} | {scores.values[layer, head]:.4f} |" for layer, head in best]
    said = [f"- {key}: {scores.metadata[key]}" for key in _SAID if key in scores.metadata]
    return "\n".join([*lines, "", *(["How they were made:", "", *said, ""] if said else [])])


def scores_at(place: str) -> HeadScores:
    """Head scores of a file, of a folder, or of a repository of the hub, "hub:owner/name".

    Raises:
        InputError: as `HeadScores.load`, `HeadScores.from_pretrained` and `scores_from_hub`.
    """
    from sparsemm.heads.scores import HeadScores

    if place.startswith(HUB):
        return scores_from_hub(place.removeprefix(HUB))
    path = Path(place)
    return HeadScores.from_pretrained(path) if path.is_dir() else HeadScores.load(path)


def scores_from_hub(name: str, *, revision: str = "main") -> HeadScores:
    """Head scores of a repository, kept in the hub's own cache and checked against its checksums.

    Args:
        name: the hub id, `owner/name`.
        revision: a branch, tag or commit.

    Raises:
        InputError: for an unknown or gated repository, one without scores, no network, and damaged files.
    """
    from sparsemm.heads.scores import HeadScores

    source = resolve("model", name, revision)
    if SCORES_FILE not in source.files:
        raise InputError(f"{name}: no {SCORES_FILE} there; `sparsemm.heads.sharing.share` writes one")
    return HeadScores.from_pretrained(
        fetch(source, [each for each in (SCORES_FILE, SAMPLES_FILE) if each in source.files])
    )
