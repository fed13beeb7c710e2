"""The fault lab: what the setting `fault` does to the batches, the trainer and the run."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from quadlib.config import BatchesSettings, SettingsError, TrainSettings, read_settings
from quadlib.data.batches import SplitBatches
from quadlib.data.dataset import QuadDataset
from quadlib.data.samples import SampleTable
from quadlib.faults.pipeline import Pipeline
from quadlib.faults.registry import FAULTS, Fault
from quadlib.files import write_text
from quadlib.runs import Run
from quadlib.runs.commands import demo_command, notebook_command
from quadlib.training.trainer import Trainer, Validator, Watcher
from quadlib.training.watcher import DoctorWatcher

log = logging.getLogger(__name__)
TABLE = "table.csv"  # in the run's folder: the rows as the fault left them


def unknown_fault(values: Mapping[str, Any]) -> list[str]:
    """One line for a `fault` that is not in the zoo, with the one near it."""
    name = values.get("fault", "")
    if not isinstance(name, str) or not name or name in FAULTS:
        return []
    near = difflib.get_close_matches(name.upper(), list(FAULTS), n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(FAULTS)}"
    return [f"fault: {name!r} is unknown; {hint}"]


def fault_of(name: str) -> Fault:
    """The fault of an id; raises SettingsError for an unknown one."""
    if problems := unknown_fault({"fault": name}):
        raise SettingsError(problems[0])
    return FAULTS[name]


def faults_of_batches() -> dict[str, str]:
    """Id and title of the faults that labels and batches show before a file is decoded."""
    return {
        fault.id: fault.title
        for fault in FAULTS.values()
        if fault.stage in ("labels", "split", "batch") and fault.code != "QL-B07"
    }


class _Undecoded(Pipeline):
    """A pipeline as far as it can be made without decoding a file: table and batches."""

    @cached_property
    def trainer(self) -> Any:
        return SimpleNamespace(batches=SplitBatches(self.table, self.settings))


def batches_of(
    table: SampleTable, settings: BatchesSettings | TrainSettings
) -> tuple[SampleTable, Any]:
    """The table and the train split's batches (in its rows) as the settings' fault leaves them; of
    a fault that lies behind the batches, as they are.
    """
    if not settings.fault or fault_of(settings.fault).id not in faults_of_batches():
        return table, SplitBatches(table, settings)
    pipeline = _Undecoded(table, read_settings(TrainSettings, settings.model_dump()))
    FAULTS[settings.fault].inject(pipeline)
    return pipeline.table, pipeline.trainer.batches


def make_trainer(
    dataset: QuadDataset,
    settings: TrainSettings,
    run: Run,
    *,
    validator: Validator | None = None,
    watcher: Sequence[Watcher] = (),
) -> Trainer:
    """A trainer with the settings' fault injected, or a healthy one where they name none. The run
    keeps the fault's id and the faulty table; a doctor among the watchers does not refuse.

    Raises:
        SettingsError: The fault is unknown, or lies in what surrounds training.
    """
    if not settings.fault:
        return Trainer(dataset, settings, run, validator=validator, watcher=watcher)
    fault = fault_of(settings.fault)
    pipeline = Pipeline(dataset.table, settings, run=run, validator=validator, watcher=watcher)
    run.update(fault=fault.id)
    fault.inject(pipeline)
    if pipeline.parts or pipeline.trainer.history:
        raise SettingsError(
            f"fault: {fault.id}, {fault.title}, lies in what surrounds training; look at it with "
            + demo_command(run.folder.parent, fault.id)
        )
    for doctor in watcher:
        if isinstance(doctor, DoctorWatcher):
            doctor.refuse = False
    _write_table(run, pipeline.table)
    log.info(f"fault {fault.id} is injected: {fault.title}")
    return pipeline.trainer  # type: ignore[no-any-return]


def keep_fault(settings: BatchesSettings, table: SampleTable) -> None:
    """Leaves a run that holds the fault and the faulty table, for 03 to open; without a fault does
    nothing.
    """
    if not settings.fault:
        return
    run = Run.create(settings, kind=f"fault-{settings.fault}")
    run.update(fault=settings.fault, settings=settings.model_dump(), seed=settings.seed)
    _write_table(run, table)
    log.info(
        f"fault {settings.fault} is injected; {run.path(TABLE)} holds the rows. Diagnose it: "
        + notebook_command("03_diagnose", run)
    )


def _write_table(run: Run, table: SampleTable) -> None:
    write_text(run.path(TABLE), table.frame.to_csv(index=False))
