"""Every case of the matrix; a new module of cases is one line here."""

from __future__ import annotations

from tests.data.cases import series, tables
from tests.data.cases.matrix import Case

CASES: list[Case] = [*tables.CASES, *series.CASES]
