"""The other processes of a training with `nproc`: started by the first one, which trains with them,
and gone when it is done.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from quadlib.config import SettingsError
from quadlib.files import patient_environment, usable_cores
from quadlib.training import ranks
from quadlib.training.errors import TrainingError

if TYPE_CHECKING:
    from quadlib.training.trainer import Trainer

GRACE_SECONDS = 10.0  # to end by themselves
LAST_WORDS = 2000  # characters of what a process said, in the error that tells of its end


@contextlib.contextmanager
def joined(trainer: Trainer) -> Iterator[None]:
    """Around training: the processes that `nproc` asks for. Where torchrun started them, or one is
    enough, nothing is done.

    Raises:
        SettingsError: what is trained is not in the settings, by which the others would build it.
        TrainingError: one of them ended; its last words are told.
    """
    count = trainer.settings.nproc
    if count == 1 or ranks.is_distributed():
        yield
        return
    _check_settings_say_all(trainer)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="quadlib-")))
        threads = stack.enter_context(_own_share_of_threads(count))
        stack.enter_context(_on_loopback())
        job = {
            "settings": trainer.settings.model_dump(),
            "run": str(trainer.run.folder.absolute()),
            "validates": trainer.validator is not None,
            "parent": os.getpid(),
        }
        helpers = [_Helper(number, count, threads, folder, job) for number in range(1, count)]
        for helper in helpers:
            stack.callback(helper.end)
        try:
            _wait_until_there(helpers)
            ranks.meet(f"file://{folder / 'meeting'}", 0, count)
            try:
                yield
            finally:
                dist.destroy_process_group()
            _wait_until_gone(helpers)
        except ranks.PeerLost as error:
            said = _how_one_ended(helpers)
            raise TrainingError(f"{said}. {ranks.GO_ON}" if said else str(error)) from error


class _Helper:
    """One of the other processes."""

    def __init__(self, number: int, count: int, threads: int, folder: Path, job: dict) -> None:
        self.name = f"process {number + 1} of {count}"
        self.there, self.said = folder / f"there-{number}", folder / f"said-{number}"
        environment = patient_environment() | {
            **{"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count)},
            **{"QUADLIB_MEETING": f"file://{folder / 'meeting'}", "QUADLIB_THERE": str(self.there)},
            "OMP_NUM_THREADS": str(threads),
        }
        with open(self.said, "wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "quadlib.training.other_process"],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # a signal of the terminal is for the first process
            )
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended at once, which is seen later
            self.process.stdin.write(json.dumps(job).encode())
            self.process.stdin.close()

    def ended_badly(self) -> bool:
        return self.process.poll() not in (None, 0)

    def last_words(self) -> str:
        """How it ended, and what it said."""
        code = self.process.returncode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        said = self.said.read_text(errors="replace").strip()[-LAST_WORDS:]
        return f"{self.name} ended ({how}){f': {said}' if said else ''}"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def _wait_until_there(helpers: list[_Helper]) -> None:
    while not all(helper.there.exists() for helper in helpers):
        if any(helper.process.poll() is not None for helper in helpers):
            raise ranks.PeerLost("another process did not come to train")
        time.sleep(0.02)


def _wait_until_gone(helpers: list[_Helper]) -> None:
    for helper in helpers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            helper.process.wait(GRACE_SECONDS)


def _how_one_ended(helpers: list[_Helper]) -> str:
    """The last words of the first that is found to have ended; empty where none has."""
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline:
        for helper in helpers:
            if helper.ended_badly():
                return helper.last_words()
        time.sleep(0.02)
    return ""


def _check_settings_say_all(trainer: Trainer) -> None:
    """Raises SettingsError where the others could not build what is trained."""
    what = (
        f"the fault {trainer.settings.fault}"
        if trainer.settings.fault
        else f"a model that the settings do not build ({trainer.foreign_model})"
        if trainer.foreign_model
        else ""
    )
    if what:
        raise SettingsError(
            f"nproc: {trainer.settings.nproc} processes train by their settings alone, which do "
            f"not hold {what}; set nproc=1, or start your own script by torchrun"
        )


@contextlib.contextmanager
def _own_share_of_threads(count: int) -> Iterator[int]:
    """A process's share of the cores, unless OMP_NUM_THREADS says how many threads it has."""
    before = torch.get_num_threads()
    share = before if "OMP_NUM_THREADS" in os.environ else max(1, usable_cores() // count)
    torch.set_num_threads(share)
    try:
        yield share
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """All are on this machine, and nothing outside it should reach them."""
    names = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    hook, key = sys.excepthook, "GLOO_SOCKET_IFNAME"
    chosen = key not in os.environ and bool(names)
    if chosen:
        os.environ[key] = names[0]
    try:
        yield
    finally:
        sys.excepthook = hook  # torch puts the process's number before what it says
        if chosen:
            del os.environ[key]
