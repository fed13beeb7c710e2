"""`%%doctor`: a training cell is run under observation, and the verdict appears below it."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.display import display


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(
            f"%%doctor: {message}. Usage: %%doctor [--steps 8] [--seconds 0] [--watch]"
        )


@magics_class
class DoctorMagic(Magics):
    """%%doctor [--steps 8] [--seconds 0] [--watch]

    Runs the cell, watches its first optimiser steps, and shows what is wrong with them. Without
    --watch the loop is left after the watched steps; with it the loop goes on. With --seconds it is
    watched on for as long where the steps show no error, until an evaluation and a save are over.
    """

    @cell_magic
    def doctor(self, line: str, cell: str) -> None:
        """%%doctor [--steps 8] [--seconds 0] [--watch]: watch this cell's training loop."""
        from quadlib.diagnosis.doors import observe

        parser = _Arguments(prog="%%doctor", add_help=False)
        parser.add_argument("--steps", type=int, default=8)
        parser.add_argument("--seconds", type=float, default=0.0)
        parser.add_argument("--watch", action="store_true")
        chosen = parser.parse_args(shlex.split(line))
        shell = self.shell
        assert shell is not None  # a magic is always of a shell
        tree = shell.transform_ast(shell.compile.ast_parse(shell.transform_cell(cell)))
        code = shell.compile(tree, "<cell under %%doctor>", "exec")
        seen = observe(steps=chosen.steps, stop=not chosen.watch, seconds=chosen.seconds)
        try:
            with seen:
                exec(code, shell.user_global_ns, shell.user_ns)
        finally:  # an error in the cell is part of what the verdict is about, and is shown too
            display(seen.diagnosis)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext quadlib` makes %%doctor known."""
    shell.register_magics(DoctorMagic)
