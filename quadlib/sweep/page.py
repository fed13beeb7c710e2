"""The table of a sweep as a page among its reports, each point linked to its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from quadlib.files import write_text
from quadlib.reports.links import link_each_other, with_links
from quadlib.reports.render import environment, shell
from quadlib.runs import Run
from quadlib.sweep.points import Row, table_cells

NAME = "points"


def write_page(run: Run, rows: Sequence[Row]) -> Path:
    """Writes reports/points.html into the sweep's folder; it opens from the file system."""
    head, *lines = table_cells(rows)
    done = sum(row.status == "done" for row in rows)
    fine = done == len(rows)
    page = (
        environment()
        .get_template("points.html.j2")
        .render(
            **shell(engine=False),
            page_title=f"Points · {run.name}",
            sweep=run.name,
            tone="fine" if fine else "look",
            word="✓ Done" if fine else "▲ Needs attention",
            sentence=f"{done} of {len(rows)} points are done.",
            head=head,
            rows=[(line, _links(row)) for line, row in zip(lines, rows, strict=True)],
        )
    )
    path = run.path("reports", f"{NAME}.html")
    write_text(path, with_links(page, run, NAME))
    link_each_other(run)
    return path


def _links(row: Row) -> list[tuple[str, str]]:
    """Name and address of each report of a point."""
    run = row.point.run
    return [
        (path.stem.replace("_", " "), f"../../{run.name}/reports/{path.name}")
        for path in sorted(run.path("reports").glob("*.html"))
    ]
