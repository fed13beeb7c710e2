"""What an examination found: roots, everything folded under them, what was not run, and the facts
always shown.
"""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from quadlib.diagnosis.chain import chain_html, chain_of
from quadlib.diagnosis.finding import STAGES, Finding, fold
from quadlib.diagnosis.sight import Sight

FACT_TITLES = {
    "frozen_parameters": "Frozen parameters",
    "gradient_flow": "Gradient flow",
    "optimiser": "Optimiser configuration",
    "positives_per_batch": "Positive pairs per batch",
    "labels": "Label composition",
}


MOST_NOTES = 5


@dataclass(frozen=True)
class Diagnosis:
    """Roots first. `ok` is False when a root is an error or a warning, True when none is, and None
    when too little was seen to judge. Renders as text, JSON, JUnit and in a notebook.

    ran: checks that could judge. not_run: those that could not, with the reason. crashed: those
    that raised an error of their own, which is a bug of the doctor's.
    """

    roots: tuple[Finding, ...]
    ran: tuple[str, ...]
    not_run: tuple[tuple[str, str], ...]
    facts: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    seconds: float = 0.0
    crashed: tuple[tuple[str, str], ...] = ()
    sight: Sight = Sight()

    def __or__(self, later: Diagnosis) -> Diagnosis:
        """What two looks at one subject found: roots and what they explain are sorted out anew."""
        known = {(item.code, item.scope) for item in self.findings}
        fresh = [item for item in later.findings if (item.code, item.scope) not in known]
        ran = tuple(dict.fromkeys((*self.ran, *later.ran)))
        not_run = dict((*self.not_run, *later.not_run))
        return Diagnosis(
            tuple(fold([item.alone() for item in (*self.findings, *fresh)])),
            ran,
            tuple((name, why) for name, why in not_run.items() if name not in ran),
            {**self.facts, **later.facts},
            self.seconds + later.seconds,
            (*self.crashed, *later.crashed),
            self.sight | later.sight,
        )

    def then(self, other: Diagnosis) -> Diagnosis:
        """What was found in a loop, and in the one after it: neither explains the other's."""
        known = {(item.code, item.scope) for item in self.roots}
        fresh = [item for item in other.roots if (item.code, item.scope) not in known]
        ran = tuple(dict.fromkeys((*self.ran, *other.ran)))
        return Diagnosis(
            (*self.roots, *(replace(r, where=f"{r.where}, in the loop after") for r in fresh)),
            ran,
            tuple((name, why) for name, why in other.not_run if name not in ran),
            {**self.facts, **other.facts},
            self.seconds + other.seconds,
            (*self.crashed, *other.crashed),
            self.sight | other.sight,
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every finding: each root followed by what it folds."""
        return tuple(item for root in self.roots for item in (root, *root.folded))

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """The roots that are no notes."""
        return tuple(root for root in self.roots if root.severity != "note")

    @property
    def ok(self) -> bool | None:
        return False if self.alarms else None if self.sight.blocked else True

    @property
    def seen(self) -> tuple[str, ...]:
        """The parts of the pipeline that were seen."""
        return self.sight.seen

    @property
    def not_seen(self) -> tuple[str, ...]:
        """The parts of which nothing was seen, so nothing is said."""
        return self.sight.not_seen

    @property
    def exit_code(self) -> int:
        """0 no problems found, 1 findings, 2 could not judge."""
        return {True: 0, False: 1, None: 2}[self.ok]

    def headline(self) -> str:
        """The verdict in one line."""
        if self.alarms:
            first, others = self.alarms[0], len(self.alarms) - 1
            more = f", and {others} more independent cause{'s' * (others > 1)}" if others else ""
            return f"{first.severity}[{first.code}]: {first.title}{more}"
        if self.ok is None:
            return f"COULD NOT JUDGE: {self.sight.blocked}"
        steps = f"{self.sight.steps} steps, " if self.sight.steps else ""
        looked = f"{steps}{_listed(self.seen)} observed" if self.seen else "nothing observed"
        notes = len(self.roots)
        counts = f"{len(self.ran)} checks passed" + f", {notes} note{'s' * (notes > 1)}" * (
            notes > 0
        )
        missing = f"; not seen: {', '.join(self.not_seen)}" if self.not_seen else ""
        return f"No problems found: {looked}; {counts}{missing}"

    def to_text(self, facts: bool = True) -> str:
        """The whole diagnosis as text, in the manner of a compiler; with facts, the tables too."""
        parts = [finding_text(root) for root in self.roots]
        if not self.alarms:
            parts.insert(0, self.headline())
        if facts:
            parts += [
                f"{FACT_TITLES.get(name, name)}\n{_indented(_table_text(table))}"
                for name, table in self.facts.items()
            ]
        parts.append(self.summary())
        return "\n\n".join(parts)

    def to_short_text(self) -> str:
        """The verdict for a terminal: the roots, or one line where there is none, and how much was
        looked at.
        """
        parts = [finding_text(root) for root in self.alarms] or [_wrapped(self.headline())]
        notes = [
            f"note[{root.code}]: {root.title}" for root in self.roots if root not in self.alarms
        ]
        checks = f"{len(self.ran)} checks ran, {len(self.not_run)} could not"
        crashes = [f"crashed: {name}: {error}" for name, error in self.crashed]
        tail = [*notes[:MOST_NOTES], *crashes, f"{checks}; --verbose lists them"]
        return "\n\n".join([*parts, "\n".join(tail)])

    def counts(self) -> str:
        """How many checks ran, and what came of them, in one line."""
        folded = sum(len(root.folded) for root in self.roots)
        clean = len(self.ran) - len({item.code for item in self.findings})
        roots = f"{len(self.roots)} root" + "s" * (len(self.roots) != 1)
        return (
            f"checks: {len(self.ran)} ran, {max(clean, 0)} clean, {roots}, {folded} folded; "
            f"{len(self.not_run)} not run"
        )

    def summary(self) -> str:
        """The counts, and what was not run with the reason."""
        lines = [self.counts()]
        reasons: dict[str, list[str]] = {}
        for name, reason in self.not_run:
            reasons.setdefault(reason, []).append(name.split(" ")[0].removeprefix("QL-"))
        for reason, codes in sorted(reasons.items(), key=lambda item: -len(item[1])):
            lines.append(f"  not run  {reason}: {' '.join(dict.fromkeys(codes))}")
        for name, error in self.crashed:
            lines.append(f"  crashed  {name}: {error} (a bug of the doctor's; please report it)")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "headline": self.headline(),
            "ok": self.ok,
            "roots": [root.to_dict() for root in self.roots],
            "ran": list(self.ran),
            "not_run": [list(item) for item in self.not_run],
            "crashed": [list(item) for item in self.crashed],
            "seen": list(self.seen),
            "not_seen": list(self.not_seen),
            "steps": self.sight.steps,
            "blocked": self.sight.blocked,
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "facts": {
                name: json.loads(table.to_json(orient="split", index=False))
                for name, table in self.facts.items()
            },
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Diagnosis:
        """The diagnosis that `to_dict` wrote."""
        facts = {
            name: pd.DataFrame(table["data"], columns=table["columns"])
            for name, table in values["facts"].items()
        }
        return cls(
            tuple(Finding.from_dict(item) for item in values["roots"]),
            tuple(values["ran"]),
            tuple((name, reason) for name, reason in values["not_run"]),
            facts,
            values["seconds"],
            tuple((name, error) for name, error in values["crashed"]),
            Sight(
                tuple(values["seen"]),
                tuple(values["not_seen"]),
                values["steps"],
                values["blocked"],
            ),
        )

    def to_junit(self) -> str:
        """JUnit XML: a case a check, failures for findings, skips for what was not run."""
        by_check: dict[str, list[Finding]] = {}
        for item in self.findings:
            by_check.setdefault(item.code, []).append(item)
        failed = {
            code: items
            for code, items in by_check.items()
            if any(item.severity != "note" for item in items)
        }
        suite = ElementTree.Element(
            "testsuite",
            name="quadlib doctor",
            tests=str(len(self.ran) + len(self.not_run)),
            failures=str(len(failed)),
            skipped=str(len(self.not_run)),
            time=f"{self.seconds:.3f}",
        )
        for name in self.ran:
            code = name.split(" ")[0]
            case = ElementTree.SubElement(
                suite, "testcase", classname=STAGES.get(code[3:4], "doctor"), name=name
            )
            for item in failed.get(code, []):
                ElementTree.SubElement(
                    case, "failure", message=item.title, type=item.severity
                ).text = finding_text(item)
        for name, reason in self.not_run:
            case = ElementTree.SubElement(
                suite, "testcase", classname=STAGES.get(name[3:4], "doctor"), name=name
            )
            ElementTree.SubElement(case, "skipped", message=reason)
        return ElementTree.tostring(suite, encoding="unicode")

    def _repr_html_(self) -> str:
        """Coloured and foldable in a notebook; every text is escaped."""
        blocks = [_finding_html(root) for root in self.roots]
        tables = [
            f"<details><summary>{html.escape(FACT_TITLES.get(name, name))}</summary>"
            f"{table.to_html(index=False, border=0)}</details>"
            for name, table in self.facts.items()
        ]
        parts = (
            f"<p><strong>{html.escape(self.headline())}</strong></p>",
            chain_html(chain_of(self.findings, self.ran, self.not_run)),
            *blocks,
            *tables,
            f"<p><small>{html.escape(self.counts())}</small></p>",
        )
        return f'<div class="quad-diagnosis">{"".join(parts)}</div>'


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 100, subsequent_indent="  "))


def _listed(names: tuple[str, ...]) -> str:
    """Names as a sentence lists them."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def finding_text(item: Finding) -> str:
    """A finding as text that stands alone."""
    lines = [f"{item.severity}[{item.code}]: {item.title}"]
    rows: list[tuple[str, tuple[str, ...]]] = [
        ("where", (item.where,)),
        ("evidence", item.evidence),
    ]
    if item.candidates:
        rows.append(("one of", (*item.candidates, f"decided by: {item.decide}")))
    if item.ruled_out:
        rows.append(("ruled out", ("; ".join(item.ruled_out),)))
    if item.explains:
        count = (
            f"        ({len(item.folded)} finding{'s' * (len(item.folded) != 1)} folded)"
            if item.folded
            else ""
        )
        rows.append(("explains", ("; ".join(dict.fromkeys(item.explains)) + count,)))
    rows += [("help", (item.help,)), ("more", (f"quadlib explain {item.code}",))]
    for name, texts in rows:
        for number, text in enumerate(texts):
            lines.append(f"  {name if number == 0 else '':<9} {text}")
    return "\n".join(lines)


def _finding_html(item: Finding) -> str:
    colour = {"error": "#D55E00", "warning": "#E69F00", "note": "#0072B2"}[item.severity]
    title, *rest = finding_text(item).split("\n")
    return (
        f'<details open style="border-left:4px solid {colour};padding:.2em .8em;margin:.6em '
        f'0"><summary><strong>{html.escape(title)}'
        "</strong></summary><pre "
        f'style="white-space:pre-wrap">{html.escape(chr(10).join(rest))}</pre></details>'
    )


def _table_text(table: pd.DataFrame, most_rows: int = 16) -> str:
    """A table as text; of a long one the fewest, the middle and the most of each figure."""
    if len(table) <= most_rows:
        return table.to_string(index=False, na_rep="")
    spread = (
        table.select_dtypes("number")
        .quantile([0, 0.5, 1])
        .T.set_axis(["min", "median", "max"], axis=1)
    )
    return f"{spread.to_string()}\n({len(table)} rows)"


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
