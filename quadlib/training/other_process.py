"""A process that trains with the one that started it: `-m quadlib.training.other_process`."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from quadlib.config import TrainSettings, read_settings
from quadlib.processes import die_with_parent
from quadlib.runs import Run
from quadlib.terminal import say
from quadlib.training import ranks
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer


def main() -> int:
    """Trains what the job on standard input says; what ends it badly is printed in words."""
    job = json.load(sys.stdin)
    die_with_parent(job["parent"])
    say_nothing()
    try:
        settings = read_settings(TrainSettings, {**job["settings"], "debug": False})
        Path(os.environ["QUADLIB_THERE"]).touch()
        ranks.join()
        Trainer(
            open_dataset(settings),
            settings,
            Run(Path(job["run"])),
            validator=_of_the_first if job["validates"] else None,
        ).fit()
    except ranks.PeerLost:
        return 1  # the first one tells why
    except Exception as error:  # whatever ends it, the first one tells
        say(error if type(error).__module__.startswith("quadlib.") else repr(error))
        return 1
    return 0


def say_nothing() -> None:
    """What happens is said by the first process."""
    logger = logging.getLogger("quadlib")
    logger.handlers[:] = [logging.NullHandler()]
    logger.propagate = False


def _of_the_first(model: Any, dataset: Any) -> dict[str, float]:
    """The first process validates for all."""
    raise AssertionError("a process validates that is not the first")


if __name__ == "__main__":
    sys.exit(main())
