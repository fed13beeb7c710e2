"""Several processes on one model: how near they come to one, how long an epoch takes, how fast a
dead one ends all, and the memory of a step with and without `micro_batch`.

    python tests/bench/ranks.py [parity] [epoch] [memory] [launched]
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from quadlib.config import TrainSettings
from quadlib.data.dataset import Batch
from quadlib.data.open import open_table
from quadlib.data.samples import input_shape
from quadlib.model.quad import QuadModel
from quadlib.runs import Run, read_lines
from quadlib.training import step
from quadlib.training.objective import QuadObjective
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer
from tests.training import ranked

STEPS, ROWS = 50, 512


def say(text: str) -> None:
    print(text, flush=True)


def load() -> str:
    return f"(load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores)"


def parity(folder: Path) -> None:
    """Against one process: the gradient of two batches with every term, lone anchors and absent
    modalities, and the weights after 50 steps of mfeat.
    """
    settings = TrainSettings(
        source="mfeat", outputs=str(folder), device="cpu", epochs=10, batch_size=96, patience=0
    ).model_copy(update=ranked.WHOLE | ranked.EVERY_TERM)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([ranked.__name__])
    for count in (1, 2, 4):
        processes = [
            context.Process(target=ranked.measure, args=(number, count, str(folder), settings))
            for number in range(count)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    found = {count: torch.load(folder / f"measured-{count}.pt") for count in (1, 2, 4)}
    for count in (2, 4):
        for name, values in found[1].items():
            away = found[count][name] - values
            share, most = away.norm() / values.norm(), away.abs().max()
            say(f"{count} processes, {name}: {share:.1e} of the norm, at most {most:.1e}")


def epoch(folder: Path) -> None:
    """Seconds of an epoch of weldsim without validation, by the files that the runs leave."""
    seconds = {}
    for _ in range(2):  # the first also fills the store
        for count in (1, 2):
            settings = TrainSettings(
                source="weldsim", outputs=str(folder), run=f"{count}", nproc=count, epochs=4,
                device="cpu", batch_size=64, resume="never",
            )  # fmt: skip
            trainer = Trainer(open_dataset(settings), settings, run := Run.create(settings))
            trainer.fit()
            lines = read_lines(run.path("timings.jsonl"))[1:]
            parts = [line["forward_seconds"] + line["backward_seconds"] for line in lines]
            seconds[count] = min(parts)
    say(
        f"epoch of weldsim: {seconds[1]:.2f} s in one process of one thread, {seconds[2]:.2f} s in "
        f"two, {seconds[1] / seconds[2]:.2f} times as fast {load()}"
    )


def step_of(size: int, folder: str) -> None:
    """One step of 512 recordings, with so many in the model at once, in a process of its own."""
    settings = TrainSettings(source="weldsim", size="tiny", outputs=folder, micro_batch=size)
    table = open_table(settings)
    model = QuadModel.from_table(table, settings)
    parts = SimpleNamespace(
        model=model,
        objective=QuadObjective(settings, 12, settings.embedding_dim, len(table.modalities)),
        settings=settings,
        device=torch.device("cpu"),
        amp_dtype=None,
        scaler=torch.amp.GradScaler("cpu", enabled=False),
    )
    random = torch.Generator().manual_seed(0)
    batch = Batch(
        {
            name: torch.randn(ROWS, *input_shape(modality, settings), generator=random)
            for name, modality in table.modalities.items()
        },
        torch.ones(ROWS, len(table.modalities), dtype=torch.bool),
        torch.arange(ROWS) % 12,
        torch.arange(ROWS),
    )
    step.training_mode(parts)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    step.backward(parts, step.forward(parts, batch))
    seconds = time.perf_counter() - began
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    say(f"step of {ROWS} recordings, micro_batch {size}: {more:.0f} MiB, {seconds:.1f} s {load()}")


def memory(folder: Path) -> None:
    for size in (0, 16, 64):
        subprocess.run([sys.executable, __file__, "step", str(size), str(folder)], check=True)


def launched(folder: Path) -> None:
    """torchrun: SIGTERM saves and ends the run, a killed process ends all, and it goes on."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "quadlib.train", "-p", "source=mfeat", "-p", "run=launched"]
    command += ["-p", f"outputs={folder}", "-p", "epochs=5000", "-p", "patience=0"]
    run = Run(folder / "launched")
    for number, what in enumerate(("SIGTERM to torchrun", "SIGKILL to the second process")):
        said = folder / f"said-{number}"
        with said.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        while f"epoch   {2 * number + 2}/5000" not in said.read_text():
            assert process.poll() is None, said.read_text()
            time.sleep(0.1)
        began = time.perf_counter()
        if number == 0:
            process.send_signal(signal.SIGTERM)
        else:
            psutil.Process(process.pid).children()[1].kill()
        process.wait(60)
        lines = [
            text for text in said.read_text().splitlines() if "ended" in text or "stop" in text
        ]
        record = run.record
        say(f"{what}: over in {time.perf_counter() - began:.1f} s, {record['status']}: {lines[0]}")
        assert record["processes"] == 2, record


def main() -> None:
    if sys.argv[1:2] == ["step"]:
        step_of(int(sys.argv[2]), sys.argv[3])
        return
    for name in sys.argv[1:] or ["parity", "memory", "launched", "epoch"]:
        with tempfile.TemporaryDirectory() as folder:
            globals()[name](Path(folder))


if __name__ == "__main__":
    main()
