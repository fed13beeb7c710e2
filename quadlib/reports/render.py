"""An executed notebook as one HTML file that opens anywhere: no network, no kernel, light and dark,
printable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from bs4 import BeautifulSoup
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbconvert.filters.highlight import Highlight2HTML
from traitlets.config import Config

from quadlib.config import TrainSettings
from quadlib.figures import viewer
from quadlib.figures.terms import explained, terms_in
from quadlib.files import FileError, digest_file, write_text
from quadlib.reports.engine import engine as engine_of_plotly
from quadlib.reports.engine import sha256
from quadlib.reports.execute import Outcome, settings_model
from quadlib.reports.figure import FIGURE_MIME
from quadlib.reports.headline import Headline, failure, headline
from quadlib.reports.links import link_each_other, with_links
from quadlib.reports.preprocess import Clean, Figures, Outline, Picture, Verdict
from quadlib.runs import Run, RunError
from quadlib.runs.commands import notebook_command

PLAY = 'document.querySelectorAll(".quad-recording").forEach(playRecording);'
TEMPLATES = Path(__file__).parent / "templates"


def render_report(notebook_path: Path, run: Run) -> Path:
    """Writes `<run>/reports/NAME.html` from an executed notebook and the run's record, and returns
    its path; of a notebook that ended badly `NAME-failed.html` beside the report that there is.

    The page makes no request, needs no kernel, and says on its first screen what came out, or what
    failed and how to go on. Raises FileError where the executed notebook was changed since.
    """
    name = notebook_path.stem
    entry = run.record.get("notebooks", {}).get(name, {})
    notebook = _executed(notebook_path, run, entry)
    code = _code(notebook)
    body, resources = _exporter().from_notebook_node(notebook)
    first = headline(entry.get("status", "done"), resources["verdict"], entry.get("error"))
    changed, defaults = _settings(run, notebook_path, entry)
    page = (
        environment()
        .get_template("page.html.j2")
        .render(
            **shell(engine=resources["figures"] > 0, recordings='"quad-recording"' in body),
            page_title=f"{resources['title'] or name} · {run.name}",
            title=resources["title"] or name,
            overline=f"{name.replace('_', ' ')} · {run.name}",
            lead=Markup(resources["lead"]),
            headline=first,
            failure=failure(run, name, notebook),
            picture=Markup(resources["picture"]),
            terms=terms_in(" ".join([first.sentence, _words(resources["picture"] + body)])),
            contents=resources["contents"],
            body=Markup(reachable(body)),
            figures=resources["figures"],
            changed=changed,
            defaults=defaults,
            facts=_facts(run, name, entry),
            code=code,
        )
    )
    path, failed = (run.path("reports", f"{name}{end}.html") for end in ("", "-failed"))
    page = with_links(page, run, path.stem)
    if entry.get("error") and entry.get("reported") and path.exists():
        write_text(failed, page)
        return failed
    write_text(path, page)
    failed.unlink(missing_ok=True)
    link_each_other(run)
    _remember(run, name, first, reported=not entry.get("error"))
    return path


def _executed(path: Path, run: Run, entry: Mapping[str, Any]) -> nbformat.NotebookNode:
    """A notebook as it was executed; one of the project's own, which nothing was executed of, is
    taken as it is.
    """
    way_out = f"Execute it again: {notebook_command(path.stem, run)}"
    digest = entry.get("sha256") if path.parent == run.path("notebooks") else None
    try:
        if digest is not None and digest_file(path) != digest:
            raise FileError(f"{path} was changed since it was executed. {way_out}")
        return nbformat.read(path, as_version=4)
    except FileError:
        raise
    except (OSError, ValueError, nbformat.reader.NotJSONError) as error:
        reason = str(error).splitlines()[0][:200]
        raise FileError(f"{path} cannot be read as a notebook ({reason}). {way_out}") from error


def reachable(page: str) -> str:
    """The page with a frame around every table, and with all that scrolls in reach of the
    keyboard.
    """
    framed = re.sub(
        r"(?<!\"0\">)<table.*?</table>",
        r'<div class="scroll" tabindex="0">\g<0></div>',
        page,
        flags=re.S,
    )
    return re.sub(r"<pre(?![^>]*tabindex)", '<pre tabindex="0"', framed)


def _words(page: str) -> str:
    """The text of a piece of a page, without its scripts."""
    soup = BeautifulSoup(page, "html.parser")
    for script in soup("script"):
        script.decompose()
    return soup.get_text(" ")


def render_outcome(outcome: Outcome, notebook: Path, run: Run) -> Path:
    """The report of a notebook that was just executed, also where it ended before its first cell
    was saved; a good report that it takes the place of is kept in `reports/earlier`.
    """
    name = outcome.notebook_path.stem
    before = run.path("reports", f"{name}.html")
    reported = run.record["notebooks"].get(name, {}).get("reported")
    if reported and outcome.error is None and before.exists():
        written = datetime.fromtimestamp(before.stat().st_mtime, UTC)
        kept = run.path("reports", "earlier", f"{name}-{written:%Y%m%d-%H%M%S}.html")
        kept.parent.mkdir(exist_ok=True)
        before.replace(kept)
    return render_report(outcome.notebook_path if outcome.notebook_path.exists() else notebook, run)


def _remember(run: Run, name: str, first: Headline, reported: bool) -> None:
    """Notes the verdict in run.json, for the gallery, and whether the report is one of success."""
    notebooks = run.record.get("notebooks", {})
    noted = {"tone": first.tone, "sign": first.sign, "word": first.word, "sentence": first.sentence}
    entry = notebooks.get(name, {}) | {"headline": noted, "reported": reported}
    run.update(notebooks=notebooks | {name: entry})


def render_all(run: Run) -> Iterator[Path]:
    """Renders every executed notebook of a run again, and yields the reports' paths.

    Raises RunError when there is none, and at the end FileError that names each one that cannot be
    read any more.
    """
    notebooks = sorted(run.path("notebooks").glob("[!.]*.ipynb"))
    if not notebooks:
        raise RunError(
            f"run {run.name} has no executed notebook to report on; execute one: "
            + notebook_command("04_evaluate", run)
        )
    damaged = []
    for path in notebooks:
        try:
            yield render_report(path, run)
        except FileError as error:
            damaged.append(str(error))
    if damaged:
        raise FileError("\n".join(damaged))


def environment() -> Environment:
    """The templates, with escaping on: whatever is not Markup is text."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters["explained"] = lambda text: Markup(explained(text))
    return made


def shell(engine: bool, script: str = "report.js", *, recordings: bool = False) -> dict[str, Any]:
    """What every page has: style sheet, its one script, and the content policy that lets only that
    script run; where it shows recordings, the script plays them.
    """
    scripts = [script] if script == "gallery.js" else [script, "tables.js"]
    text = "\n".join((TEMPLATES / name).read_text(encoding="utf-8").strip() for name in scripts)
    if recordings:
        text += f"\n{viewer.script()}{PLAY}"
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8") + viewer.style()
    packed, engine_hash = engine_of_plotly() if engine else ("", "")
    sources = [f"'sha256-{sha256(text)}'", *([f"'sha256-{engine_hash}'"] if engine else [])]
    return {
        "css": Markup(style),
        "script": Markup(text),
        "engine": Markup(packed),
        "script_sources": Markup(" ".join(sources)),
    }


def _exporter() -> HTMLExporter:
    order = [FIGURE_MIME, "text/html", "image/png", "image/jpeg", "text/plain"]
    return HTMLExporter(
        template_file=str(TEMPLATES / "cells.html.j2"),
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        preprocessors=[Clean, Figures, Verdict, Picture, Outline],
        config=Config({"NbConvertBase": {"display_data_priority": order}}),
    )


def _code(notebook: nbformat.NotebookNode) -> list[dict[str, Any]]:
    """The code cells, highlighted, with how long each took."""
    highlight = Highlight2HTML(pygments_lexer="ipython3")
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.strip():
            seconds = cell.metadata.get("papermill", {}).get("duration")
            cells.append(
                {
                    "html": Markup(reachable(highlight(cell.source))),
                    "seconds": f"{seconds:.1f} s" if seconds is not None else "",
                }
            )
    return cells


def _settings(
    run: Run, notebook_path: Path, entry: Mapping[str, Any]
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """Settings that are not defaults as (name, value, default), then the others: those of the
    notebook, then those that trained the run.
    """
    recorded, given = run.record["settings"], entry.get("parameters", {})
    fields = dict(settings_model(notebook_path).model_fields)
    fields |= {
        name: field
        for name, field in TrainSettings.model_fields.items()
        if name in recorded and name not in fields
    }
    changed, defaults = [], []
    for name, field in fields.items():
        value, default = given.get(name, recorded.get(name, field.default)), field.default
        if name in ("run", "outputs"):
            continue
        if value != default:
            changed.append((name, _text(value), _text(default)))
        else:
            defaults.append((name, _text(value)))
    return changed, defaults


def _facts(run: Run, name: str, entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the numbers come from: run, data, code, machine, times."""
    record = run.record
    timings = ", ".join(
        f"{key} {seconds:.1f} s"
        for key, seconds in record["timings"].items()
        if isinstance(seconds, int | float)
    )
    versions = ", ".join(f"{package} {version}" for package, version in record["versions"].items())
    facts = [
        ("run", run.name),
        ("status", entry.get("status", record["status"])),
        ("notebook", f"notebooks/{name}.ipynb"),
        ("source", record["source"]),
        ("data fingerprint", (record["fingerprint"] or "")[:16]),
        ("seed", record["seed"]),
        ("device", record["device"]),
        ("commit", record["commit"]),
        ("created", record["created"]),
        ("ended", record["ended"]),
        ("durations", timings),
        ("versions", versions),
    ]
    return [(key, str(value)) for key, value in facts if value not in (None, "")]


def _text(value: Any) -> str:
    return (
        json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value or "(empty)"
    )
