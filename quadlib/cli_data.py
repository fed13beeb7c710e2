"""The commands `quadlib data ...`: make, check and clean recordings, and draft a table of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from quadlib.terminal import say

data_app = typer.Typer(
    no_args_is_help=True,
    help="Make recordings or a table of them, or check a whole table before training.",
)

Outputs = Annotated[str, typer.Option(help="Outputs folder; empty takes the project's own.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A setting; may be repeated."),
]
Preset = Annotated[Path | None, typer.Option(help="TOML file of settings; -p overrides it.")]


@data_app.command("make")
def data_make(parameter: Parameters = None, preset: Preset = None) -> None:
    """Make or read a source's recordings and summarise them (weldsim by default; -p
    source=mfeat, -p size=tiny).
    """
    from quadlib.config import BatchesSettings, read_options, read_settings
    from quadlib.data.open import open_table

    started = time.monotonic()
    values = read_options(BatchesSettings, parameter, preset)
    table = open_table(read_settings(BatchesSettings, values))
    counts = ", ".join(f"{split} {len(table.rows(split))}" for split in ("train", "val", "test"))
    say(
        f"{table.name}: {len(table)} recordings ({counts}), {len(table.class_names)} classes, "
        f"{table.frame['group'].nunique()} sessions"
    )
    say(f"{table.root or 'in memory'}, in {time.monotonic() - started:.1f} s")


@data_app.command("clean")
def data_clean(outputs: Outputs = "") -> None:
    """Delete the decoded recordings and the features that encoders gave; what is needed again is
    made again.
    """
    from quadlib.data.store.clean import clean_store

    count, size = clean_store(outputs)
    say(f"removed {count} decoded or encoded modalities, {size / 2**20:.1f} MiB")


@data_app.command("check")
def data_check(
    parameter: Parameters = None,
    preset: Preset = None,
    verify: Annotated[
        bool, typer.Option(help="Read every byte again, also of files that were not touched since.")
    ] = False,
) -> None:
    """Print what is understood of a table, read every file, and list all that stands against
    training; exit 0 means that the first epoch runs.
    """
    from quadlib.config import TrainSettings, read_options, read_settings
    from quadlib.data.check import examine
    from quadlib.data.inventory import inventory
    from quadlib.diagnosis.report import finding_text
    from quadlib.training.preflight import preflight
    from quadlib.training.restore import dataset_of

    settings = read_settings(TrainSettings, read_options(TrainSettings, parameter, preset))
    examined = examine(settings, verify=verify)
    for line in inventory(examined.table, examined.store):
        say(line)
    count = len(examined.problems) + len(examined.damage)
    if count:
        say(examined.report())
    else:
        errors = preflight(dataset_of(examined, settings), settings)
        count = len(errors)
        for error in errors:
            say(finding_text(error))
    say(
        f"{examined.table.name}: {len(examined.table)} recordings checked, "
        + (f"{count} problem{'s' * (count != 1)}" if count else "no problems")
    )
    raise typer.Exit(1 if count else 0)


@data_app.command("make-table")
def data_make_table(
    source: Annotated[
        Path,
        typer.Argument(help="Folder that holds the recordings, or a table of features."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write; empty takes recordings.csv in the folder, or the table's name "
            "with .npz."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a file that exists.")] = False,
    label: Annotated[str, typer.Option(help="Column of the classes, in a table.")] = "",
    sample_id: Annotated[str, typer.Option(help="Column of the rows' names, in a table.")] = "",
    group: Annotated[str, typer.Option(help="Column of the sessions, in a table.")] = "",
    leave_out: Annotated[
        list[str] | None,
        typer.Option(help="Column of numbers that is no feature, in a table; may be repeated."),
    ] = None,
) -> None:
    """Write a recordings.csv from a folder (class folders, one folder a recording, several photos,
    a Hugging Face metadata file), or an .npz from a table whose columns are features, to be looked
    at and edited.
    """
    from quadlib.config import SettingsError
    from quadlib.data.sources.make_features import draft_features
    from quadlib.data.sources.make_table import NAME, draft_table
    from quadlib.files import write_bytes

    columns = {"label": label, "sample_id": sample_id, "group": group, "leave_out": leave_out or ()}
    if not source.exists():
        raise SettingsError(f"make-table: there is no file or folder {source}")
    of_table = source.is_file()
    if not of_table and (given := [name for name, value in columns.items() if value]):
        raise SettingsError(
            f"{', '.join(given)}: names a column, and {source} is a folder; leave it out"
        )
    path = out if out is not None else source.with_suffix(".npz") if of_table else source / NAME
    if path.exists() and not overwrite:
        raise SettingsError(
            f"{path} exists and is kept; take another name by --out, or --overwrite"
        )
    if of_table:
        features = draft_features(source, **columns)  # type: ignore[arg-type]
        content, notes, labels = features.to_npz(), features.notes, features.arrays["y"]
    else:
        draft = draft_table(source)
        content, notes = draft.to_csv().encode(), draft.notes
        labels = draft.frame["label"].to_numpy()
    write_bytes(path, content)
    _say_made(path, notes, [str(name) for name in labels])


def _say_made(path: Path, notes: Sequence[str], labels: Sequence[str]) -> None:
    from quadlib.runs.commands import check_command

    for note in notes:
        say(f"note: {note}")
    counts = Counter(label or "(no label)" for label in labels).most_common(12)
    classes = ", ".join(f"{label} {count}" for label, count in counts)
    say(f"{path}: {len(labels)} recordings, {classes}")
    check = check_command({"source": "table", "path": str(path.absolute())})
    say(f"Look at it, then: {check}")
