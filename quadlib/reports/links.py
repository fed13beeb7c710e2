"""Links between the reports of a run, and to the gallery."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from quadlib.files import write_text
from quadlib.runs import Run

# what stands between the marks is written anew whenever a report joins the others
_MARKED = re.compile(r"<!--reports-->.*?<!--/reports-->", re.DOTALL)


def with_links(page: str, run: Run, name: str) -> str:
    """A report's page with links to the run's other reports, and to the gallery, as they are
    now.
    """
    names = sorted({path.stem for path in run.path("reports").glob("*.html")} | {name})
    links = [
        f'<span aria-current="page">{_words(other)}</span>'
        if other == name
        else f'<a href="{escape(other)}.html">{_words(other)}</a>'
        for other in names
    ]
    links.append('<a href="../../index.html">all runs</a>')
    marked = f"<!--reports-->{' '.join(links)}<!--/reports-->"
    return _MARKED.sub(lambda _: marked, page, count=1)


def link_each_other(run: Run) -> None:
    """Writes the links of every report of a run anew, where they have changed."""
    for path in run.path("reports").glob("*.html"):
        before = path.read_text(encoding="utf-8")
        after = with_links(before, run, path.stem)
        if after != before:
            write_text(path, after)


def _words(name: str) -> Markup:
    return escape(name.replace("_", " "))
