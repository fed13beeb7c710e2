"""What the doctor has against a dataset before a model is made."""

from __future__ import annotations

from quadlib.config import TrainSettings
from quadlib.data.batches import SplitBatches
from quadlib.data.dataset import QuadDataset, make_loader
from quadlib.diagnosis import Finding, Subject, diagnose


def preflight(dataset: QuadDataset, settings: TrainSettings) -> list[Finding]:
    """The errors for which 02_train would not start, but for what only its model shows; none of
    those that settings.allow names.
    """
    batches = SplitBatches(dataset.table, settings)
    subject = Subject(
        table=dataset.table,
        batch_sampler=batches,
        loader=make_loader(dataset, batches, seed=settings.seed),
        settings=settings,
        name=dataset.table.name,
    )
    roots = diagnose(subject, phases=("before",)).roots
    return [root for root in roots if root.severity == "error" and root.code not in settings.allow]
