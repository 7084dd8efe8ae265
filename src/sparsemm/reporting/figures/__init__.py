"""The paper's figures and seven of our own, by name. Each is a function of result files and the path of the figure."""

from __future__ import annotations

from collections.abc import Callable

from sparsemm.reporting.figures.accuracy import figure4, figure5
from sparsemm.reporting.figures.audit import figure_audit
from sparsemm.reporting.figures.claims import figure_claims
from sparsemm.reporting.figures.efficiency import figure6
from sparsemm.reporting.figures.emergence import figure_emergence
from sparsemm.reporting.figures.heatmap import figure2
from sparsemm.reporting.figures.maps import figure10, figure11
from sparsemm.reporting.figures.masking import figure7
from sparsemm.reporting.figures.matrix import figure_matrix, figure_pareto
from sparsemm.reporting.figures.patches import figure_patches
from sparsemm.reporting.figures.probes import figure8, figure9
from sparsemm.reporting.figures.recipes import figure_recipes

# Name of the figure's files -> the function that draws it, in the order of the report.
FIGURES: dict[str, Callable[..., None]] = {
    "figure_claims": figure_claims,
    "figure_patches": figure_patches,
    "figure2": figure2,
    "figure4": figure4,
    "figure5": figure5,
    "figure6": figure6,
    "figure7": figure7,
    "figure8": figure8,
    "figure9": figure9,
    "figure10": figure10,
    "figure11": figure11,
    "figure_audit": figure_audit,
    "figure_emergence": figure_emergence,
    "figure_matrix": figure_matrix,
    "figure_pareto": figure_pareto,
    "figure_recipes": figure_recipes,
}
__all__ = [
    "FIGURES",
    "figure2",
    "figure4",
    "figure5",
    "figure6",
    "figure7",
    "figure8",
    "figure9",
    "figure10",
    "figure11",
    "figure_audit",
    "figure_claims",
    "figure_emergence",
    "figure_matrix",
    "figure_pareto",
    "figure_patches",
    "figure_recipes",
]
