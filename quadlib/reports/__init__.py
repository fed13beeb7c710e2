"""Notebooks run in batch, and what they found as pages that open anywhere."""

from __future__ import annotations

import sys


def skip_address_grammar() -> None:
    """Spares this process 1.4 of the 2.0 s that importing papermill or nbconvert takes; call it
    before either.

    jsonschema, under both, compiles a grammar of international web addresses where rfc3987_syntax
    is installed, for a check that no notebook needs; without the package it leaves the check out.
    """
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
