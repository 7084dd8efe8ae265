"""Emergence: how alike copying heads and visual heads are, and what masking either costs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sparsemm.reporting.emergence import KINDS, READINGS, comparisons, masked, read_states, unknown
from sparsemm.reporting.notes import trial_note
from sparsemm.reporting.summary import Paths, as_paths, in_order
from sparsemm.reporting.tables.writing import Row, with_interval, write, write_not_run

_COLUMNS = ["model", "of", "compared", "measure", "value", "low", "high", "chance", "chance_high", "chance_p"]
_COLUMNS += ["layer_chance", "layer_chance_high", "layer_chance_p"]
_HEAD = ["model", "of", "compared", "measure", "value", "by chance", "within layers"]


def table_emergence(
    scores: Paths,
    stem: str | Path,
    *,
    samples: Paths = (),
    text_scores: Paths = (),
    text_samples: Paths = (),
    masks: Paths = (),
    draws: int = 1000,
) -> None:
    """Write `<stem>.csv`, `.md` and `.tex`: agreement of rankings, then what is left of a transcript under masks.

    Args:
        scores: files of kind scores, named <model>.parquet.
        stem: path of the table without its suffix.
        samples: files of kind score_samples, named as the scores.
        text_scores: files of kind scores of heads that read text, named <reading>/<model>.parquet.
        text_samples: files of kind score_samples, named as these.
        masks: files of kind reading_masks, named <reading>/<model>.parquet.
        draws: resamples of the pages, and shuffles, for each pair of rankings.

    Raises:
        InputError: for a file that cannot be read.
    """
    if not as_paths(text_scores):
        write_not_run(stem, _COLUMNS, _HEAD, ["No model read text; `emergence` asks for it."], labels=4)
        return
    rankings, layers = read_states(scores, samples, text_scores, text_samples)
    alike, blind = comparisons(rankings, layers, draws=draws), unknown(rankings)
    losses = _losses(masked(masks, without=blind))
    numbers = pd.concat([_agreements(alike), losses], ignore_index=True)[_COLUMNS]
    notes = [
        "Agreement of heads: rank correlation over all heads, and the share of the best heads that both have, with "
        "95 % bootstrap intervals over pages. By chance: one side's heads shuffled, among all and within their "
        "layers; in brackets the 95th percentile and the one-sided p value.",
        "Heads masked: the share of the transcript's tokens, found without a mask, that is still found; by chance: "
        "as many random heads. Copying heads are the best of the untouched language model reading text.",
        *(
            f"{model}: on the probe images {reason}: it has no visual heads."
            for model, reason in blind.items()
        ),
        *_spread(alike),
        *trial_note(text_scores),
    ]
    rows: list[Row] = []
    for row in numbers.to_dict("records"):
        value = with_interval(row["value"], row["low"], row["high"])
        shown = [_null(row, name) for name in ("chance", "layer_chance")]
        rows.append([row["model"], row["of"], row["compared"], row["measure"], value, *shown])
    write(stem, numbers, _HEAD, rows, notes, labels=4)


def _agreements(alike: pd.DataFrame) -> pd.DataFrame:
    return alike.assign(of="agreement", compared=alike["first"] + " / " + alike["second"])


def _losses(cells: pd.DataFrame) -> pd.DataFrame:
    """Visual and copying heads, random ones beside them."""
    keys = ["model", "reading", "fraction"]
    random = cells[cells["kind"] == "random"].set_index(keys)
    rows = []
    for row in cells[cells["kind"] != "random"].to_dict("records"):
        key = tuple(row[name] for name in keys)
        beside = random.loc[key] if key in random.index else None
        rows.append(
            {
                "model": row["model"],
                "of": f"masked {KINDS[row['kind']].label}",
                "compared": READINGS[row["reading"]],
                "measure": f"{row['fraction'] * 100:g} % masked, of {row['full']:.3f}",
                "value": row["kept"],
                "low": row["low"],
                "high": row["high"],
                "chance": None if beside is None else beside["kept"],
            }
        )
    return pd.DataFrame(rows, columns=_COLUMNS)


def _null(row: dict[str, float], name: str) -> str:
    if pd.isna(row[name]):
        return ""
    if pd.isna(row[f"{name}_high"]):
        return f"{row[name]:.3f}"
    return f"{row[name]:.3f} [{row[f'{name}_high']:.3f}, p {row[f'{name}_p']:.3f}]"


def _spread(alike: pd.DataFrame) -> list[str]:
    """Least, mean and largest rank correlation of copying and visual heads over several models."""
    models = in_order(alike["model"])
    own = alike[(alike["measure"] == "rank correlation") & (alike["second"] == READINGS["image"])]
    own = own[own["first"] == READINGS["base"]]["value"]
    if len(models) < 2 or own.empty:
        return []
    return [
        f"Rank correlation of {READINGS['base']} and {READINGS['image']} over {len(own)} models: mean "
        f"{own.mean():.3f}, from {own.min():.3f} to {own.max():.3f}."
    ]
