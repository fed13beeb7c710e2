"""What is observed of a subject, shared by the checks and made once each; whatever is touched is
put back.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch import Tensor

from quadlib.diagnosis.evidence.batch import labels_in
from quadlib.diagnosis.evidence.declared import DeclaredFacts
from quadlib.diagnosis.evidence.fact import fact
from quadlib.diagnosis.evidence.trial import Probe, Trajectory, take_steps
from quadlib.diagnosis.limits import DEFAULT, Limits
from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.observe.snapshot import Snapshot
from quadlib.diagnosis.observe.steps import NO_ROWS, LossPass, replay
from quadlib.diagnosis.subject import Subject, Unavailable, codes_of

if TYPE_CHECKING:
    from quadlib.diagnosis.evidence.contents import Contents
    from quadlib.diagnosis.evidence.dataset_rows import DatasetRows
    from quadlib.diagnosis.evidence.forward import Forward
    from quadlib.diagnosis.evidence.plateau import Pinned
    from quadlib.diagnosis.evidence.reference import LossReading
    from quadlib.diagnosis.evidence.schedule import Schedule
    from quadlib.diagnosis.evidence.signature import Signature

__all__ = ["Examination", "Unavailable"]


class Examination(DeclaredFacts):
    """Facts of a subject, made on first use and kept; a fact that cannot be had raises Unavailable
    with the reason.

    Use it as a context manager: leaving it puts the subject back as it was.
    """

    def __init__(self, subject: Subject, *, deep: bool = False, limits: Limits = DEFAULT) -> None:
        super().__init__(subject)
        self.deep, self.limits = deep, limits
        self._trial: Trajectory | Exception | None = None

    def __enter__(self) -> Examination:
        self._snapshot = Snapshot(self.subject.model, self._stateful())
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def restore(self) -> None:
        """Puts the subject back now, after something that changed it."""
        self._snapshot.restore()

    def _stateful(self) -> list[Any]:
        s = self.subject
        inner = [getattr(s.loader, name, None) for name in ("batch_sampler", "sampler", "dataset")]
        further = getattr(inner[0], "sampler", None), getattr(inner[2], "dataset", None)
        parts = (s.optimizer, s.scheduler, s.scaler, s.loss, s.loader, s.batch_sampler)
        return [item for item in (*parts, *inner, *further) if item is not None]

    @property
    def record(self) -> Record:
        """What was seen of a training loop."""
        if self.subject.record is None:
            raise Unavailable("no training loop was observed")
        return self.subject.record

    @fact("reads")
    def batch_sampler(self) -> Any:
        """The batch sampler: given, or the loader's own."""
        given = self.subject.batch_sampler
        sampler = (
            given if given is not None else getattr(self.subject.loader, "batch_sampler", None)
        )
        if sampler is None:
            raise Unavailable("no batch sampler or loader")
        return sampler

    def draw(self, epochs: Iterable[int | None]) -> tuple[list[list[np.ndarray]], bool]:
        """The batches of some epochs as the sampler numbers them, from one copy of it, and whether
        every epoch came to its end.

        An epoch of None is drawn without set_epoch. What does not end is cut off by number and by
        time.
        """
        given = self.batch_sampler
        try:
            sampler = copy.deepcopy(given)
        except Exception as error:
            raise Unavailable(
                f"the batch sampler cannot be copied, so drawing would change it: {error}"
            ) from error
        drawn, ended, deadline = [], True, time.monotonic() + self.limits.most_seconds_drawing
        for epoch in epochs:
            if epoch is not None and hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
            batches: list[np.ndarray] = []
            for batch in iter(sampler):
                if len(batches) == self.limits.most_batches_drawn or time.monotonic() > deadline:
                    ended = False
                    break
                batches.append(np.asarray(batch, dtype=np.int64).reshape(-1))
            drawn.append(batches)
        return drawn, ended

    @fact("reads")
    def drawn_positions(self) -> list[np.ndarray]:
        """One epoch of batches as the sampler numbers them."""
        return self.draw([None])[0][0]

    @fact("reads")
    def drawn(self) -> list[np.ndarray]:
        """One epoch of batches as table rows, drawn from a copy of the sampler; a sampler without
        end is cut off.
        """
        return self.as_rows(self.drawn_positions)

    def as_rows(self, batches: list[np.ndarray]) -> list[np.ndarray]:
        """Batches of the sampler's numbers as rows of the table."""
        if not batches:
            return []
        indices = np.concatenate(batches)
        own = self.rows_of_subset
        if own is not None and indices.min(initial=0) >= 0 and indices.max(initial=-1) < len(own):
            return [own[batch] for batch in batches]
        # Positions count within the train split, unless every one of them is a row of it.
        inside = bool(np.isin(indices, self.train_rows).all())
        if inside or indices.max(initial=-1) >= len(self.train_rows):
            return batches
        return [self.train_rows[batch] for batch in batches]

    @fact("reads")
    def rows_of_subset(self) -> np.ndarray | None:
        """The table's rows behind the positions of the loader's dataset, where it is a
        torch.utils.data.Subset of the table's rows.
        """
        dataset = getattr(self.subject.loader, "dataset", None)
        indices, whole = getattr(dataset, "indices", None), getattr(dataset, "dataset", ())
        drawn_here = self.subject.batch_sampler is None or self.subject.batch_sampler is getattr(
            self.subject.loader, "batch_sampler", None
        )
        if (
            indices is None
            or not hasattr(whole, "__len__")
            or len(whole) != len(self.labels)
            or not drawn_here
        ):
            return None
        return np.asarray(indices, dtype=np.int64)

    @fact("reads")
    def batch_counts(self) -> np.ndarray:
        """Labels per drawn batch: (n_batches, n_classes) in the order of `classes`."""
        drawn = self.drawn  # first: where nothing can be drawn, no label is sorted
        codes = np.unique(self.labels, return_inverse=True)[1].reshape(-1)
        classes = codes.max(initial=-1) + 1
        if any(batch.max(initial=-1) >= len(codes) for batch in drawn):
            raise Unavailable(
                "the sampler draws indices beyond the labels; give the labels of what it indexes"
            )
        return np.array([np.bincount(codes[batch], minlength=classes) for batch in drawn]).reshape(
            len(drawn), classes
        )

    @fact("loads")
    def batches(self) -> list[Any]:
        """The first two batches of the loader, as it gives them."""
        batches = list(itertools.islice(self.iterate(), self.limits.batches_read))
        if not batches:
            raise Unavailable("the loader gives no batch")
        return batches

    def iterate(self) -> Iterator[Any]:
        """A pass over the loader's batches."""
        self.afford("a pass over the loader", "loads")
        if self.subject.loader is None:
            raise Unavailable("no loader")
        if not hasattr(self.subject.loader, "__iter__"):
            raise Unavailable("the loader cannot be iterated")
        return iter(self.subject.loader)

    @fact("steps")
    def batch_labels(self) -> np.ndarray:
        """Labels of the first batch."""
        return self.labels_in(self.batches[0])

    def labels_in(self, batch: Any) -> np.ndarray:
        """Labels of a batch (N,)."""
        return labels_in(batch, self.label_path)

    @fact("steps")
    def label_path(self) -> str:
        """The leaf of a batch that the trial steps showed the loss to be given as labels, or ""."""
        try:
            return self.trajectory.label
        except Exception:  # no step, or it raised, which the contracts of the step say
            return ""

    @fact("reads")
    def contents(self) -> dict[str, Contents]:
        """Modality -> which samples hold the same content, which hold one single value, which
        files are not there.
        """
        from quadlib.diagnosis.evidence.contents import contents_of

        return contents_of(self)

    @fact("reads")
    def dataset_rows(self) -> DatasetRows:
        """What the dataset hands out for the table's rows, where nothing is stored that could be
        read instead.
        """
        from quadlib.diagnosis.evidence.dataset_rows import dataset_rows

        return dataset_rows(self)

    @fact("reads")
    def features(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Summary vectors (n, d) of every modality of some training rows, NaN where it is absent,
        and their labels (n,).
        """
        from quadlib.diagnosis.evidence.features import features_of

        return features_of(self)

    @fact("reads")
    def signature(self) -> Signature:
        """Which modalities depend on the label and on each other, over what is trained on."""
        from quadlib.diagnosis.evidence.signature import signature_of

        return signature_of(self)

    @fact("steps")
    def forward(self) -> Forward:
        """Embeddings of the first batch and of changed copies of it, in evaluation mode."""
        from quadlib.diagnosis.evidence.forward import Forward

        if self.subject.model is None:
            raise Unavailable("no model")
        return Forward(self)

    @fact("steps")
    def embeddings(self) -> Tensor:
        """Embeddings of the first batch in training mode, detached: (N, D), several views stacked
        view by view.
        """
        try:
            rows = self.probe.embeddings
        except Unavailable:
            raise
        except Exception:  # a step whose loss has no gradient raises there, after its forward pass
            rows = self.replay(self.batches[0], evaluation=False).rows
        if rows is None:
            raise Unavailable(NO_ROWS)
        return rows

    @fact("steps")
    def embedded_labels(self) -> np.ndarray:
        """The label of every row of `embeddings`."""
        labels = codes_of(self.batch_labels)
        views, rest = divmod(len(self.embeddings), max(len(labels), 1))
        if rest or not views:
            raise Unavailable(f"{len(self.embeddings)} embeddings for {len(labels)} labels")
        return np.tile(labels, views)

    @fact("steps")
    def probe(self) -> Probe:
        """One training step on the first batch, observed from inside, then undone."""
        return self.trajectory.first

    @property
    def trajectory(self) -> Trajectory:
        """The first few training steps, observed and then undone; taken once, even where they
        raise.
        """
        self.afford("trajectory", "steps")
        if self._trial is None:
            try:
                self._trial = take_steps(
                    self.subject,
                    self.batches,
                    most_steps=self.limits.trial_steps,
                    most_seconds=self.limits.trial_seconds,
                )
            except Exception as error:  # of the subject's own step; raised at every question
                self._trial = error
            finally:
                self._snapshot.restore()
        if isinstance(self._trial, Exception):
            raise self._trial
        return self._trial

    def replay(self, batch: Any, *, evaluation: bool = True) -> LossPass:
        """The subject's step on a batch up to its backward pass; the subject is put back."""
        self.afford("replay", "steps")
        names = self._trial.names if isinstance(self._trial, Trajectory) else None
        try:
            return replay(self.subject, batch, names, evaluation=evaluation)
        finally:
            self._snapshot.restore()

    @fact("reads")
    def loss_reading(self) -> LossReading:
        """What the loss computes on embeddings of known geometry."""
        from quadlib.diagnosis.evidence.reference import LossReading

        return LossReading(self)

    @fact("reads")
    def pinned(self) -> Pinned | None:
        """The collapse plateau on which the history ended, or None."""
        from quadlib.diagnosis.evidence.plateau import pinned

        self.subject.require_bounds()
        return pinned(self)

    @fact("reads")
    def schedule(self) -> Schedule:
        """The learning rates that the scheduler will give, tried out and undone."""
        from quadlib.diagnosis.evidence.schedule import schedule_of

        return schedule_of(self)

    def facts(self, steps: bool = True) -> dict[str, pd.DataFrame]:
        """What every diagnosis shows, found or not: frozen parameters, gradient flow (after a
        step), optimiser, positives, labels.
        """
        from quadlib.diagnosis.evidence.facts import all_facts

        return all_facts(self, steps)
