"""Runs a script, unchanged, under observation."""

from __future__ import annotations

import gc
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from quadlib.diagnosis.observe.leaving import EnoughSeen
from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.observe.watching_on import WatchingOn


def observe_script(
    script: str,
    arguments: Sequence[str] = (),
    *,
    steps: int = 8,
    stop: bool = True,
    seconds: float = 0.0,
    settled: Callable[[Record], bool] | None = None,
) -> Record:
    """The record of a script's training loop, which is left after `steps` optimiser steps unless
    stop is False; with seconds, it is watched on for as long, as `WatchingOn` says.

    The script runs as `python SCRIPT ARGUMENTS` would run it: as `__main__`, with its own
    sys.argv, and with its folder first on the path. An exception that it raises ends the
    observation and stands in the record; only KeyboardInterrupt is passed on.

    Raises:
        FileNotFoundError: The script does not exist.
    """
    path = Path(script)
    if not path.is_file():
        raise FileNotFoundError(f"{script} is no file; give the path of a Python script")
    recorder = WatchingOn(steps, seconds=seconds, settled=settled, stop=stop)
    with _as_main(path, arguments):
        try:
            with recorder:
                gc.freeze()  # what lives already is none of the script's: it is not looked through
                recorder.ran(runpy.run_path(str(path), run_name="__main__"))
        except SystemExit as leaving:
            _note_end(recorder.record, f"exit {leaving.code}" if leaving.code else "finished")
        except (KeyboardInterrupt, EnoughSeen):
            raise
        except BaseException as error:  # the script's own, told in the verdict
            recorder.record.error = error
        finally:
            gc.unfreeze()
    return recorder.record


def _note_end(record: Record, how: str) -> None:
    if record.later is None:
        record.ended = how
    else:
        record.later.ended = how


@contextmanager
def _as_main(path: Path, arguments: Sequence[str]) -> Iterator[None]:
    argv, search = sys.argv, list(sys.path)
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.resolve().parent))
    try:
        yield
    finally:
        sys.argv = argv
        sys.path[:] = search
