"""Decoding in processes of their own: a decoder that crashes or hangs on a file is damage of that
file, nothing more.

Plain child processes and not a process pool: a pool loses every queued job with the one that
crashed, and it runs the caller's main module again in each process, which fails in a script without
a main guard.
"""

from __future__ import annotations

import os
import pickle
import queue
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path

import quadlib
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.expansion import MOST_EXPANSION
from quadlib.data.decoding.job import Decoded, Job, decode
from quadlib.files import usable_cores
from quadlib.processes import die_with_parent

LIMIT_SECONDS = 600.0
SPARE_SECONDS = 5.0  # in which the parent, where it is there, ends a process first, and says why
# Of memory for one job, unless its files are so large that they may expand to more; a photo of 168
# megapixels takes 1 GiB.
MOST_BYTES = 4 * 2**30
PROGRAM = "from quadlib.data.decoding.workers import main; main()"
JOBS_AHEAD = 4  # a process, so that none waits for the next
JOBS_PER_PROCESS = 16  # below this a further process costs more to start than it saves


class WorkerPool:
    """Decoding processes, started when first needed and ended on leaving the `with` block."""

    def __init__(self, *, limit_seconds: float = LIMIT_SECONDS, program: str = PROGRAM) -> None:
        self.limit_seconds, self.program = limit_seconds, program
        self.workers: list[Worker] = []
        # One for the pool's whole life: a process dies with the thread that started it.
        self.threads = ThreadPoolExecutor(usable_cores())

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self.workers:
            worker.end()
        self.threads.shutdown(wait=False, cancel_futures=True)

    def decode_all(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Decoded | DamageError]]:
        """Yields (position in jobs, result or damage) as the jobs finish, in any order, decoded by
        at most one process a core. Some jobs a process are under way or finished at a time, so that
        results do not pile up where they are taken slowly.
        """
        wanted = min(usable_cores(), -(-len(jobs) // JOBS_PER_PROCESS))
        while len(self.workers) < wanted:
            self.workers.append(Worker(self.limit_seconds, self.program))
        idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self.workers:
            idle.put(worker)

        def run(job: Job) -> Decoded | DamageError:
            worker = idle.get()
            try:
                return worker.decode(job)
            finally:
                idle.put(worker)

        coming = iter(enumerate(jobs))
        futures: dict[Future[Decoded | DamageError], int] = {}
        try:
            while True:
                for position, job in islice(coming, wanted * JOBS_AHEAD - len(futures)):
                    futures[self.threads.submit(run, job)] = position
                if not futures:
                    return
                for future in wait(futures, return_when=FIRST_COMPLETED).done:
                    yield futures.pop(future), future.result()
        finally:
            for future in futures:
                future.cancel()


class Worker:
    """A child process that decodes one job after another, and is replaced when it dies."""

    def __init__(self, limit_seconds: float, program: str = PROGRAM) -> None:
        self.limit_seconds, self.program = limit_seconds, program
        self.ended = False
        self.process = self._start()

    def decode(self, job: Job) -> Decoded | DamageError:
        """The job's result; a crash, a refusal to start or more than limit_seconds is damage of the
        job's first file.
        """
        process = self.process
        assert process.stdin is not None and process.stdout is not None
        started, timer = time.monotonic(), threading.Timer(self.limit_seconds, process.kill)
        timer.start()
        try:
            pickle.dump(job, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            code = process.wait()
        finally:
            timer.cancel()
        hung = time.monotonic() - started >= self.limit_seconds
        self.stop()
        if not self.ended:
            self.process = self._start()
        return DamageError(
            job.paths[0],
            f"its decoder did not end within {self.limit_seconds:g} s"
            if hung
            else f"its decoder crashed ({_cause(code)})",
        )

    def end(self) -> None:
        """Ends the process for good."""
        self.ended = True
        self.stop()

    def stop(self) -> None:
        """Ends the process at once; what it was decoding is lost."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:  # an unsent rest of a job, to a process that is gone
                continue

    def _start(self) -> subprocess.Popen[bytes]:
        # A kind from outside lies where this process finds it, in a script's own folder for one.
        root = str(Path(quadlib.__file__).parents[1])
        places = dict.fromkeys(os.path.abspath(place) for place in [root, *sys.path])
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(places),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-c", self.program, str(os.getpid()), str(self.limit_seconds)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"


def main(decoder: Callable[[Job], Decoded] = decode) -> None:
    """Reads jobs from standard input and answers on standard output, both pickled, until the input
    or the parent, whose number is its first argument, ends. A job gets no more memory than
    MOST_BYTES or what its files may expand to, and no more time than the second argument, whoever
    watches.
    """
    parent, limit_seconds = int(sys.argv[1]), float(sys.argv[2])
    die_with_parent(parent)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the parent decides when an interrupted run's workers end
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(
            sys.stderr.fileno(), sys.stdout.fileno()
        )  # a library that prints must not break the answers
        while True:
            try:
                job = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            signal.setitimer(signal.ITIMER_REAL, limit_seconds + SPARE_SECONDS)
            most = _limit_memory(job)
            try:
                answer: Decoded | DamageError = decoder(job)
            except DamageError as damage:
                answer = damage
            except MemoryError:
                answer = DamageError(
                    job.paths[0],
                    f"needs more memory than the {most / 2**30:.3g} GiB that decoding may take",
                    "scale it down or cut it",
                )
            signal.setitimer(signal.ITIMER_REAL, 0)
            pickle.dump(answer, answers)
            answers.flush()


def _limit_memory(job: Job) -> int:
    """Lets this process have so many bytes, and no more."""
    sizes = [path.stat().st_size for path in job.paths if path.is_file()]
    most = max(MOST_BYTES, MOST_EXPANSION * sum(sizes))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    return most
