"""Probe pages as text: a grid of characters in place of the image, a token a character, and the transcript after it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from sparsemm.heads.probe import ProbeImage
from sparsemm.heads.text_reading import TextPage
from sparsemm.models.loading import render

_MARK = "\x00"  # where the page stands in the prompt; no template has it


def text_pages(processor: Any, probe: Sequence[ProbeImage], prompt: str) -> list[TextPage]:
    """The pages as text, in the processor's chat format, and their transcripts spelt in single characters.

    Args:
        processor: of a vision-language model.
        probe: the pages.
        prompt: what the model is asked about them.
    """
    tokenize = processor.tokenizer
    known: dict[str, list[int]] = {}

    def spell(char: str) -> list[int]:
        if char not in known:
            known[char] = tokenize(char, add_special_tokens=False)["input_ids"]
        return known[char]

    before, _, after = render(processor, f"{_MARK}\n{prompt}", images=0).partition(_MARK)
    head, tail = (tokenize(text, add_special_tokens=False)["input_ids"] for text in (before, after))
    return [_page(item, head, tail, spell) for item in probe]


def _page(
    item: ProbeImage, head: Sequence[int], tail: Sequence[int], spell: Callable[[str], list[int]]
) -> TextPage:
    ids, places = list(head), []
    text, spans = grid(item)
    for char in text:
        places.append(range(len(ids), len(ids) + len(spell(char))))
        ids += spell(char)
    ids += tail
    sources = [tuple(p for place in places[start:end] for p in place) for start, end in spans]
    steps: list[tuple[int, int]] = []
    for line in lines_of(item):
        for number, word in enumerate(line):
            ids += spell(" ") if number else []
            for char in item.words[word]:
                if not char.isspace():
                    steps += [(len(ids) + index, word) for index in range(len(spell(char)))]
                ids += spell(char)
        ids += spell("\n")
    return TextPage(
        item.id, tuple(ids), tuple(step for step, _ in steps), tuple(sources[word] for _, word in steps)
    )


def lines_of(item: ProbeImage) -> list[list[int]]:
    """The page's words by line, as indexes: a line ends where a word stands left of the last or not beside it."""
    lines: list[list[int]] = []
    for index, (left, top, _, bottom) in enumerate(item.boxes):
        if lines:
            last = item.boxes[lines[-1][-1]]
            if left >= last[0] and last[1] <= (top + bottom) / 2 <= last[3]:
                lines[-1].append(index)
                continue
        lines.append([index])
    return lines


def grid(item: ProbeImage) -> tuple[str, list[tuple[int, int]]]:
    """The page as lines of characters, each word in the column where it stands, and the span of each word in them.

    A column is as wide as the page's median character. A word that would touch the one before it moves one on.
    """
    wide = statistics.median(
        (box[2] - box[0]) / len(word) for word, box in zip(item.words, item.boxes) if word
    )
    margin = min(box[0] for box in item.boxes)
    text, spans = "", [(0, 0)] * len(item.words)
    for line in lines_of(item):
        row = ""
        for index in line:
            column = round((item.boxes[index][0] - margin) / wide)
            row = row.ljust(max(column, len(row) + 1 if row else 0))
            spans[index] = len(text) + len(row), len(text) + len(row) + len(item.words[index])
            row += item.words[index]
        text += row + "\n"
    return text.removesuffix("\n"), spans
