"""JupyterLab on working copies of the notebooks: running one leaves the original as it is."""

from __future__ import annotations

import datetime
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from quadlib.files import (
    digest_file,
    make_folder,
    outputs_folder,
    patient_environment,
    read_json,
    write_json,
)

# JupyterLab's own export would leave every figure out, as nbconvert does
EXPORT = "--HTMLExporter.preprocessors=quadlib.reports.export.PlotlyFigures"
ORIGINALS = ".originals.json"  # digests of the notebooks that the copies were made from


def working_copies(notebooks: Path, outputs: str, say: Callable[[str], None]) -> Path:
    """Copies the notebooks into `<outputs>/notebooks`, and returns that folder. A copy that is
    there is kept with all that was changed in it; one whose original is of a newer version is set
    aside under another name, and said.
    """
    folder = outputs_folder(outputs) / "notebooks"
    make_folder(folder)
    known = read_json(folder / ORIGINALS) if (folder / ORIGINALS).exists() else {}
    digests = {}
    for original in sorted(notebooks.glob("*.ipynb")):
        copy, digest = folder / original.name, digest_file(original)
        digests[original.name] = digest
        if copy.exists() and known.get(original.name) != digest:
            kept = copy.with_stem(f"{copy.stem}_until_{datetime.datetime.now():%Y%m%d_%H%M%S}")
            copy.rename(kept)
            say(f"{original.name} has a new version; your copy is {kept}")
        if not copy.exists():
            shutil.copyfile(original, copy)
    write_json(folder / ORIGINALS, digests)
    say(f"your copies of the notebooks: {folder}")
    return folder


def start_lab(notebook: Path, outputs: str = "", options: tuple[str, ...] = ()) -> int:
    """Opens a working copy in JupyterLab, whose kernels write into the same outputs folder, and
    waits until it ends; returns its exit code.
    """
    place = outputs_folder(outputs)
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={place.parent}", EXPORT]
    server = subprocess.Popen(
        [*command, *options, str(notebook)],
        env=patient_environment() | {"QUADLIB_OUTPUTS": str(place)},
    )
    while True:
        try:
            return server.wait()
        except KeyboardInterrupt:  # Ctrl-C reaches JupyterLab too, which asks, and ends by itself
            continue
