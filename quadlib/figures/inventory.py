"""What was understood of the recordings, as a table to read before anything is trained."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from quadlib.data.inventory import Entry, inventory, understood
from quadlib.data.samples import SampleTable
from quadlib.data.store.store import MediaStore

CELL = "padding:.15em .8em .15em 0;text-align:left;vertical-align:top"


@dataclass(frozen=True)
class InventoryTable:
    """Shows itself as a table in a notebook and a report, and as the lines of `quadlib data check`
    anywhere else.
    """

    entries: Sequence[Entry]
    lines: Sequence[str]

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.to_html()}

    def to_html(self) -> str:
        """A row an entry, its modality named once; every text that may come from the data is
        escaped.
        """
        rows = []
        for subject, entries in groupby(self.entries, key=lambda entry: entry.subject):
            parts = list(entries)
            head = (
                f'<th scope="rowgroup" rowspan="{len(parts)}" style="{CELL}">'
                f"{html.escape(subject)}</th>"
            )
            for entry in parts:
                cells = "".join(
                    f'<td style="{CELL}">{html.escape(text)}</td>'
                    for text in (entry.aspect, entry.text)
                )
                rows.append(f"<tr>{head}{cells}</tr>")
                head = ""
        return f"<table>{''.join(rows)}</table>"


def inventory_table(table: SampleTable, store: MediaStore | None = None) -> InventoryTable:
    """What `quadlib data check` prints of a table, with what a store of its recordings, or of some
    of them, tells.
    """
    return InventoryTable(understood(table, store), inventory(table, store))
