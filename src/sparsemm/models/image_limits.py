"""What a result says about the images that a processor was given: the limits, and where they are not the paper's."""

from __future__ import annotations

from typing import Any

from sparsemm.families import family_of


def image_limits(processor: Any) -> dict[str, Any]:
    """What bounds an image's size and tiles and what is done to it first; scores of reading depend on it.

    Returns:
        By name: `min_pixels` and `max_pixels` of the processor's resize (Qwen), `pinpoints` (LLaVA-NeXT), others of
        other families; under a rule set also `jpeg_quality` and `first_resize`, the least and largest area of the
        resize before the processor's.
    """
    return family_of(processor).image_limits(processor)


def limits_note(processor: Any) -> str:
    """One line where the limits differ from the paper's; empty where they do not, or the paper has none."""
    ours, paper = image_limits(processor), family_of(processor).paper_limits(processor)
    found = [
        f"{key} {_words(ours.get(key))} in place of {_words(value)}"
        for key, value in paper.items()
        if ours.get(key) != value
    ]
    return f"image limits differ from the paper's: {'; '.join(found)}" if found else ""


def _words(value: Any) -> str:
    return "none" if value is None else str(list(value)) if isinstance(value, list | tuple) else f"{value:,}"
