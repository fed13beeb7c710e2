"""Many runs at a time on Dask: on this machine, or on the workers of a scheduler that is running.

Dask hands out the runs, notices a worker that is lost, and gives its run to another one. What a run
needs beside that is its own: processes that die with their worker, a lock, and checkpoints from
which it goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quadlib.config import SettingsError
from quadlib.files import usable_cores
from quadlib.reports.point import Ended, Job, execute_job, stop_jobs
from quadlib.reports.process import GRACE_SECONDS, THREADS, signals_caught
from quadlib.runs import RunError

if TYPE_CHECKING:
    from distributed import Client, Future

LOOPBACK = "127.0.0.1:0"  # Dask's pages of state, which it opens to the network unless told not to
LOOK_SECONDS = 0.5  # between two looks at who has come, and whether a signal was caught
CONNECT_SECONDS = 30.0  # for a scheduler that was started together with the command


class LostError(RunError):
    """The scheduler that gave out the runs does not answer any more."""


class Workers:
    """Executes jobs on Dask workers; `stopped_by` is the signal that ended it, or 0.

    Without a scheduler's address, the workers are threads of this process that wait for the
    processes of their runs: there is no further process that can be lost, and no port to which
    others on the machine could send work.

    Args:
        count: Runs at a time on this machine.
        scheduler: Address (`tcp://host:8786`) of a running Dask scheduler, or the file that it
            wrote (`dask scheduler --scheduler-file`); its workers are used instead.
        say: Gets every line that is said while it waits.

    Raises:
        SettingsError: Both are asked for.
    """

    def __init__(self, count: int = 1, scheduler: str = "", *, say: Callable[[str], None]) -> None:
        if scheduler and count > 1:
            raise SettingsError(
                f"workers: {count} are asked for on this machine, and those of the scheduler "
                f"{scheduler}; leave one of both out"
            )
        self.count, self.scheduler, self.say = count, scheduler, say
        self.stopped_by = 0
        self._command = ""

    def each(self, jobs: Iterable[Job]) -> Generator[Ended]:
        """Executes the jobs, as many at a time as there are workers, and yields how each ended, in
        the order in which they end.

        A job is taken from the iterable only when a worker is free for it. Whoever leaves the loop
        early, or sends a signal, stops the runs that are going: each saves after its step.

        Raises:
            RunError: No scheduler answers, or it is lost.
        """
        self._command = secrets.token_hex(8)
        waiting = iter(jobs)
        first = next(waiting, None)
        if first is None:
            return
        with self._client() as client, signals_caught([]) as caught:
            running: dict[Future, Job] = {}
            try:
                yield from self._ended(client, running, _chained(first, waiting), caught)
            except LostError:
                raise
            except BaseException:  # left early, or there is no next job
                self._stop(client, running, signal.SIGINT)
                raise

    def _ended(
        self,
        client: Client,
        running: dict[Future, Job],
        waiting: Iterator[Job],
        caught: list[int],
    ) -> Iterator[Ended]:
        while True:
            with self._reached():
                slots = self._slots(client, caught)
            while len(running) < slots and not caught:
                job = next(waiting, None)
                if job is None:
                    break
                job = self._shared(job)
                with self._reached():  # a run is no pure function, and its key is its own
                    key = f"{job.run.name}-{self._command}"
                    running[client.submit(execute_job, job, key=key, pure=False)] = job
            if caught:
                self.stopped_by = caught[0]
                self.say(f"stopping after {signal.Signals(caught[0]).name}: each run saves first")
                yield from self._stop(client, running, caught[0], caught)
                return
            if not running:
                return
            with self._reached():
                ended = _some(running)
            for future in ended:
                yield _how(future, running.pop(future))

    def _stop(
        self,
        client: Client,
        running: dict[Future, Job],
        number: int,
        caught: list[int] | None = None,
    ) -> list[Ended]:
        """Stops the runs that are going, and waits until they are over; a second signal cuts that
        short.
        """
        folders = [job.folder for job in running.values()]
        deadline = time.monotonic() + GRACE_SECONDS + 10
        while not all(future.done() for future in running) and time.monotonic() < deadline:
            with self._reached():
                client.run(stop_jobs, folders, number, max(len(caught or ()), 1))
            time.sleep(0.2)
        over = [_how(future, job) for future, job in running.items() if future.done()]
        running.clear()
        return over

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (OSError, CancelledError):
            raise LostError(
                f"the scheduler {self.scheduler} is lost; runs that its workers still execute are "
                "waited for where the same command goes on"
            ) from None

    def _shared(self, job: Job) -> Job:
        """The job with this command's name, and its share of this machine's cores."""
        limits = job.limits
        asked = limits.threads or self.scheduler or any(name in os.environ for name in THREADS)
        if self.count > 1 and not asked:
            limits = limits.model_copy(update={"threads": max(1, usable_cores() // self.count)})
        return replace(job, command=self._command, working_folder=os.getcwd(), limits=limits)

    def _slots(self, client: Client, caught: list[int]) -> int:
        """Runs at a time; waits for the first worker of a scheduler."""
        if not self.scheduler:
            return self.count
        told = False
        while not (threads := sum(client.nthreads().values())) and not caught:
            if not told:
                self.say(f"waiting for workers of {self.scheduler}")
                told = True
            time.sleep(LOOK_SECONDS)
        return threads

    @contextlib.contextmanager
    def _client(self) -> Iterator[Client]:
        import dask
        from distributed import Client, LocalCluster

        if self.scheduler:
            with _quiet(), self._connected() as client:
                yield client
            return
        served: dict[str, Any] = {
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
        }
        with (
            _quiet(),
            dask.config.set(served),
            LocalCluster(
                n_workers=1,
                threads_per_worker=self.count,
                processes=False,
                memory_limit=0,
                scheduler_kwargs={"dashboard": False, "dashboard_address": LOOPBACK},
                worker_dashboard_address=LOOPBACK,
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client

    def _connected(self) -> Client:
        from distributed import Client

        place = {"address": self.scheduler}
        if not self.scheduler.rpartition(":")[2].isdigit():  # a file, which may be on its way
            place = {"scheduler_file": self.scheduler}
            deadline = time.monotonic() + CONNECT_SECONDS
            while not os.path.isfile(self.scheduler) and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
        try:
            if "address" not in place and not os.path.isfile(self.scheduler):
                raise FileNotFoundError("no such file")
            return Client(**place, timeout=CONNECT_SECONDS, name="quadlib")
        except (OSError, ValueError) as error:
            raise RunError(
                f"scheduler: {self.scheduler} does not answer ({error}); start one by `dask "
                "scheduler --scheduler-file scheduler.json`, and give its address or that file"
            ) from None


def _some(running: Iterable[Future]) -> list[Future]:
    """Those that are over; waits a moment for one."""
    from distributed import wait

    with contextlib.suppress(TimeoutError):
        wait(list(running), timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED")
    if any(future.cancelled() for future in running):
        raise CancelledError
    return [future for future in running if future.done()]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what Dask logs: what is lost is told in one message."""
    loggers = [
        logging.getLogger(name)
        for name in list(logging.root.manager.loggerDict)
        if name.split(".")[0] == "distributed"
    ]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _chained(first: Job, rest: Iterator[Job]) -> Iterator[Job]:
    yield first
    yield from rest


def _how(future: Future, job: Job) -> Ended:
    if future.status == "finished":
        return future.result()
    error = future.exception()
    return Ended(job.run, "killed", f"{type(error).__name__}: {error}", 1)
