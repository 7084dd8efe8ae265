"""The paper's figures, each from result files alone. Needs neither torch nor transformers."""

from sparsemm.reporting.figures.accuracy import figure4
from sparsemm.reporting.figures.audit import figure_audit
from sparsemm.reporting.figures.efficiency import figure6
from sparsemm.reporting.figures.heatmap import figure2
from sparsemm.reporting.figures.maps import figure10
from sparsemm.reporting.figures.masking import figure7

__all__ = ["figure2", "figure4", "figure6", "figure7", "figure10", "figure_audit"]
