from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from quadlib.config import MediaSettings
from quadlib.data.decoding import workers
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.job import Decoded, Job
from quadlib.data.decoding.workers import WorkerPool
from quadlib.data.kinds import audio

SETTINGS = MediaSettings(audio_frames=8)
# A decoder that ends its process on some files, as a native crash would, and hangs on another.
STUB = """
import os, signal, time
from quadlib.data.decoding import workers
from quadlib.data.decoding.job import decode

def stub(job):
    if "crash" in job.paths[0].name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in job.paths[0].name:
        time.sleep(60)
    if "greedy" in job.paths[0].name:
        bytearray(6 * 2**30)
    print("a library that prints")
    return decode(job)

workers.main(stub)
"""


def jobs_of(media, names):
    return [Job("audio", audio.decode, (media.flac(name),), SETTINGS) for name in names]


def test_a_crash_and_a_hang_are_damage_of_their_files_alone(media):
    names = ["a.flac", "crash.flac", "b.flac"]
    with WorkerPool(program=STUB) as pool:
        results = dict(pool.decode_all(jobs_of(media, names)))
        again = dict(pool.decode_all(jobs_of(media, ["c.flac"])))
        (worker,) = pool.workers
        worker.limit_seconds = 0.5
        hung = dict(pool.decode_all(jobs_of(media, ["hang.flac"])))
    assert [type(results[place]) for place in range(3)] == [Decoded, DamageError, Decoded]
    assert "crashed (SIGSEGV)" in results[1].what and "crash.flac" in results[1].path
    assert "did not end within 0.5 s" in hung[0].what
    assert isinstance(again[0], Decoded)


def test_the_same_numbers_as_in_this_process(media):
    from quadlib.data.decoding.job import decode

    jobs = [
        *jobs_of(media, ["a.flac"]),
        Job("audio", audio.decode, (media.root / "gone.flac",), SETTINGS),
    ]
    with WorkerPool() as pool:
        results = dict(pool.decode_all(jobs))
        processes = [worker.process for worker in pool.workers]
    assert np.array_equal(results[0].array, decode(jobs[0]).array)
    assert isinstance(results[1], DamageError) and "does not exist" in results[1].what
    assert all(process.poll() is not None for process in processes)


def test_nothing_to_do_starts_nothing():
    with WorkerPool() as pool:
        assert list(pool.decode_all([])) == [] and pool.workers == []


def test_a_file_gets_no_more_memory_than_decoding_may_take(media):
    with WorkerPool(program=STUB) as pool:
        results = dict(pool.decode_all(jobs_of(media, ["greedy.flac", "a.flac"])))
    assert "needs more memory than the 4 GiB that decoding may take" in results[0].what
    assert isinstance(results[1], Decoded)


FILL = """
from quadlib.data.decoding.workers import Worker
from tests.data.decoding.test_workers import STUB, hanging
worker = Worker(600, STUB)
print(worker.process.pid, flush=True)
worker.decode(hanging())
"""


def hanging():
    return Job("audio", audio.decode, (Path("hang.flac"),), SETTINGS)


def test_a_busy_decoder_dies_with_the_process_that_asked():
    command = [sys.executable, "-c", FILL]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        decoder = psutil.Process(int(process.stdout.readline()))
        time.sleep(1)
        process.kill()
    decoder.wait(timeout=10)


def test_a_decoder_that_nobody_watches_ends_by_itself():
    program = STUB.replace("workers.main", "workers.SPARE_SECONDS = 1 - 600\nworkers.main")
    worker = workers.Worker(600, program)
    assert "crashed (SIGALRM)" in worker.decode(hanging()).what
    worker.end()
