"""Files as strangers have them, with the right answer known from other software."""

from importlib import import_module

from .case import Case

KINDS = {
    "instruments": ("instruments", "scopes"),
    "clocks": ("clocks",),
    "cells": ("cells",),
    "arrays": ("arrays",),
    "sounds": ("sounds",),
    "clips": ("clips", "clip_files"),
    "photos": ("photos", "photo_files"),
    "tables": ("tables", "labels"),
    "folders": ("folders",),
    "second": ("programs", "databases", "more_media", "more_tables"),
    "third": ("handhelds", "locales", "rare_files"),
}  # kind -> the modules that hold its cases; a new module is one word here


def every_case() -> dict[tuple[str, str], Case]:
    """(kind, name) -> case, in the order of their files."""
    cases: dict[tuple[str, str], Case] = {}
    for kind, modules in KINDS.items():
        for module in modules:
            for case in import_module(f"{__name__}.{module}").CASES:
                assert (kind, case.name) not in cases, case.name
                cases[kind, case.name] = case
    return cases
