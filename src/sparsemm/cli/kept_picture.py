"""`sparsemm answer --show FILE`: a picture of the image tokens that were kept, head by head."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sparsemm.errors import InputError
from sparsemm.reporting.figures.kept import SUFFIXES, figure_kept

if TYPE_CHECKING:
    from PIL.Image import Image

    from sparsemm.models import Loaded
    from sparsemm.policies import Policy

_CELLS = 1600  # image tokens of a larger page are joined in blocks: a cell is kept where one of them is


def check_picture(file: str, images: int, policy: Policy) -> None:
    """One clear line, before the model is loaded, for a picture that cannot be made."""
    if Path(file).suffix.lower() not in SUFFIXES:
        raise InputError(f"--show {file}: the name must end in {' or '.join(SUFFIXES)}")
    if not Path(file).absolute().parent.is_dir():
        raise InputError(f"--show {file}: its folder is not there; make it first")
    if images != 1:
        raise InputError(f"--show takes one image, {images} are given; ask about one")
    if policy.budget is None:
        raise InputError("--show: this policy keeps everything; choose one with a budget")


def draw_kept(file: str, loaded: Loaded, policy: Policy, image: Image, question: str) -> None:
    """Prefill the prompt once more and write what the policy keeps of its image.

    Raises:
        InputError: for a policy that ranks no tokens.
    """
    import numpy as np

    from sparsemm.evaluation.cells import Cell
    from sparsemm.evaluation.kept_tokens import kept_tokens
    from sparsemm.heads.probe import ProbeImage
    from sparsemm.heads.view_cells import view_cells
    from sparsemm.models import build_inputs, shape

    item = ProbeImage("page", image, ["page"], [(0, 0, *image.size)])
    cell = Cell(policy.name, policy.budget or 0, policy)
    found = kept_tokens(loaded, item, [cell], prompt=question, most=_CELLS)
    if found.keep.empty:
        raise InputError(f"--show: {policy.name} keeps the newest tokens alone; choose a policy that ranks")
    ids = build_inputs(loaded.processor, [image], [question])["input_ids"][0]
    view = view_cells(loaded.processor, item, ids, _CELLS)
    layers, heads = shape(loaded.model).num_layers, shape(loaded.model).num_kv_heads
    places = np.frombuffer(b"".join(found.ranks["ranks"]), dtype="<u2").reshape(layers, heads, *view.grid)
    granted = found.keep["keep"].to_numpy().reshape(layers, heads, 1, 1)
    own = found.keep["kept_tokens"].mean()
    title = f"{loaded.name}, {policy.name} at {policy.budget}: {own:.1f} tokens a KV head kept"
    figure_kept(file, np.asarray(image), (view.row_edges, view.col_edges), places <= granted, title)
