"""The paper's tables, each from result files alone. Needs neither torch nor transformers."""

from sparsemm.reporting.tables.ablations import table3, table4, table_audit
from sparsemm.reporting.tables.accuracy import table1, table2, table5
from sparsemm.reporting.tables.comparison import comparison
from sparsemm.reporting.tables.findings import findings
from sparsemm.reporting.tables.profile import table_profile

__all__ = [
    "comparison",
    "findings",
    "table1",
    "table2",
    "table3",
    "table4",
    "table5",
    "table_audit",
    "table_profile",
]
