"""The paper's tables and ten of our own, by name. Each is a function of result files and the path of the table."""

from __future__ import annotations

from collections.abc import Callable

from sparsemm.reporting.tables.ablations import table3, table4, table_audit
from sparsemm.reporting.tables.accuracy import table5, table6
from sparsemm.reporting.tables.claims import claims
from sparsemm.reporting.tables.comparison import comparison
from sparsemm.reporting.tables.emergence import table_emergence
from sparsemm.reporting.tables.findings import findings
from sparsemm.reporting.tables.matrix import table_matrix
from sparsemm.reporting.tables.profile import table_profile
from sparsemm.reporting.tables.recipes import table_recipes
from sparsemm.reporting.tables.repro import repro
from sparsemm.reporting.tables.rules import rules
from sparsemm.reporting.tables.speed import table2
from sparsemm.reporting.tables.tokens import table1

# Name of the table's files -> the function that writes it, in the order of the report.
TABLES: dict[str, Callable[..., None]] = {
    "claims": claims,
    "findings": findings,
    "repro": repro,
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "table4": table4,
    "table5": table5,
    "table6": table6,
    "table_audit": table_audit,
    "table_emergence": table_emergence,
    "table_matrix": table_matrix,
    "table_profile": table_profile,
    "table_recipes": table_recipes,
    "comparison": comparison,
    "rules": rules,
}
__all__ = [
    "TABLES",
    "claims",
    "comparison",
    "findings",
    "repro",
    "rules",
    "table1",
    "table2",
    "table3",
    "table4",
    "table5",
    "table6",
    "table_audit",
    "table_emergence",
    "table_matrix",
    "table_profile",
    "table_recipes",
]
