"""BatchPlan: what every batch of an epoch will hold, known before any file is decoded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from quadlib.loss.bounds import floor_of_counts
from quadlib.loss.labels import class_codes, read_labels

if TYPE_CHECKING:
    import pandas as pd


class PlanError(ValueError):
    """The batches do not fit the labels; the message says which and how."""


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """The batches of one epoch and their labels: counts, positives, lone anchors, repeats, unseen
    samples and floors, without decoding a file.

    batches: one int64 array of sample indices per batch. codes: class code of every sample, int64
    (n_samples,). class_names: one per code. groups: session code of every sample, or None. notes:
    what the sampler did to rare classes.
    """

    batches: list[np.ndarray]
    codes: np.ndarray
    class_names: tuple[str, ...]
    groups: np.ndarray | None = None
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def draw(
        cls,
        batch_sampler: Iterable[Any],
        labels: Any,
        class_names: Sequence[str] | None = None,
        *,
        groups: Any = None,
        max_batches: int | None = None,
    ) -> BatchPlan:
        """The plan of any batch sampler, or of a loader with one, by iterating its indices alone.

        labels: one per sample of the dataset, any dtype. A DataLoader is read through its
        batch_sampler. At most max_batches are drawn (default: one epoch by its len, or enough to
        see every sample four times where it has none), so an endless sampler ends too. Raises
        PlanError on indices outside the labels.
        """
        sampler: Any = batch_sampler
        if hasattr(sampler, "dataset") and hasattr(sampler, "batch_sampler"):
            sampler = sampler.sampler if sampler.batch_sampler is None else sampler.batch_sampler
        codes, names = encode_labels(labels, class_names)
        notes: list[str] = []
        epoch = _epoch_length(sampler, len(codes))
        limit = max_batches if max_batches is not None else epoch
        batches: list[np.ndarray] = []
        drawn = 0
        for batch in islice(iter(sampler), limit):
            index = np.atleast_1d(
                np.asarray(
                    batch.tolist() if hasattr(batch, "tolist") else list(batch), dtype=np.int64
                )
            )
            if index.size and (index.min() < 0 or index.max() >= len(codes)):
                wrong = index[(index < 0) | (index >= len(codes))][0]
                raise PlanError(
                    f"batch {len(batches)} asks for sample {wrong}, but there are {len(codes)} "
                    "labels; pass the labels of the very dataset that the sampler was made for"
                )
            batches.append(index)
            drawn += index.size
            if max_batches is None and drawn >= 4 * len(codes) and not hasattr(sampler, "__len__"):
                break
        if (
            len(batches) == limit < epoch
            or drawn >= 4 * len(codes)
            and not hasattr(sampler, "__len__")
        ):
            notes.append(f"inspected the first {len(batches)} batches")
        return cls(
            batches,
            codes,
            names,
            None if groups is None else encode_groups(groups),
            tuple(notes),
        )

    def __len__(self) -> int:
        return len(self.batches)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Samples per batch, (n_batches,) int64."""
        return np.array([len(batch) for batch in self.batches], dtype=np.int64)

    @cached_property
    def counts(self) -> np.ndarray:
        """Samples of each class in each batch, (n_batches, n_classes) int64; a repeated sample
        counts each time, an unlabelled one not at all.
        """
        n_classes = len(self.class_names)
        code = self.codes[self._flat]
        flat = (self._batch_of_slot * n_classes + code)[code >= 0]
        return np.bincount(flat, minlength=len(self) * n_classes).reshape(len(self), n_classes)

    def positives(self) -> list[np.ndarray]:
        """Per batch, the number of positives of each of its anchors: others of its class in the
        batch.
        """
        return self._split(self._own_count - 1)

    def negatives(self) -> list[np.ndarray]:
        """Per batch, the number of negatives of each of its anchors: samples of other classes in
        the batch.
        """
        return self._split(self.sizes[self._batch_of_slot] - self._own_count)

    @cached_property
    def lone_anchors(self) -> np.ndarray:
        """Anchors without a positive, per batch, (n_batches,) int64."""
        return np.asarray((self.counts == 1).sum(1))

    @cached_property
    def repeats(self) -> np.ndarray:
        """Slots per batch filled by a sample that is in the same batch already, (n_batches,)
        int64.
        """
        return np.array(
            [len(batch) - len(np.unique(batch)) for batch in self.batches], dtype=np.int64
        )

    @cached_property
    def times_seen(self) -> np.ndarray:
        """How often each sample is drawn in the epoch, (n_samples,) int64."""
        return np.bincount(self._flat, minlength=len(self.codes))

    @cached_property
    def unseen(self) -> np.ndarray:
        """Samples that no batch holds, int64."""
        return np.flatnonzero(self.times_seen == 0)

    @cached_property
    def without_other_session(self) -> np.ndarray:
        """Per batch, anchors that have a positive but none from another session, (n_batches,)
        int64; needs groups.
        """
        if self.groups is None:
            raise PlanError(
                "the sessions are not known; give groups= to the sampler or to BatchPlan.draw"
            )
        n_classes = len(self.class_names)
        labelled = self.codes[self._flat] >= 0
        cell = (self._batch_of_slot * n_classes + self.codes[self._flat])[labelled]
        group = self.groups[self._flat][labelled]
        low, high = (
            np.full(len(self) * n_classes, np.iinfo(np.int64).max),
            np.full(len(self) * n_classes, -1),
        )
        np.minimum.at(low, cell, group)
        np.maximum.at(high, cell, group)
        single = (low == high).reshape(len(self), n_classes) & (self.counts >= 2)
        return np.asarray(np.where(single, self.counts, 0).sum(1))

    def floor(self, temperature: float, n_views: int = 1) -> np.ndarray:
        """The floor of SupCon for each batch, (n_batches,) float64; NaN where no anchor has a
        positive. An unlabelled sample is nobody's positive: a class of its own.
        """
        unlabelled = self.sizes - self.counts.sum(1)
        alone = np.arange(unlabelled.max(initial=0)) < unlabelled[:, None]
        return floor_of_counts(np.hstack([self.counts, alone]) * n_views, temperature)

    def collapse(self, n_views: int = 1) -> np.ndarray:
        """The collapse plateau ln(N - 1) of each batch, (n_batches,) float64; NaN for batches of
        one anchor.
        """
        anchors = self.sizes * n_views
        return np.where(anchors > 1, np.log(np.maximum(anchors - 1, 1)), np.nan)

    def summary(self, temperature: float = 0.07) -> pd.DataFrame:
        """One row a batch: size, classes, smallest and largest class count, positives, lone
        anchors, repeats, collapse and floor.
        """
        import pandas as pd  # the table alone needs it

        present = np.where(self.counts > 0, self.counts, np.iinfo(np.int64).max)
        positives = [p.min() if len(p) else 0 for p in self.positives()]
        frame = pd.DataFrame(
            {
                "size": self.sizes,
                "classes": (self.counts > 0).sum(1),
                "fewest": present.min(1) if len(self) else [],
                "most": self.counts.max(1) if len(self) else [],
                "positives_min": positives,
                "lone_anchors": self.lone_anchors,
                "repeats": self.repeats,
                "collapse": self.collapse(),
                "floor": self.floor(temperature),
            }
        )
        if self.groups is not None:
            frame["without_other_session"] = self.without_other_session
        frame.index.name = "batch"
        return frame

    @cached_property
    def _flat(self) -> np.ndarray:
        return np.concatenate(self.batches) if self.batches else np.zeros(0, dtype=np.int64)

    @cached_property
    def _batch_of_slot(self) -> np.ndarray:
        return np.repeat(np.arange(len(self)), self.sizes)

    @cached_property
    def _own_count(self) -> np.ndarray:
        code = self.codes[self._flat]
        return np.where(code >= 0, self.counts[self._batch_of_slot, code], 1)

    def _split(self, values: np.ndarray) -> list[np.ndarray]:
        return np.split(values, np.cumsum(self.sizes)[:-1]) if self.batches else []


def encode_labels(
    labels: Any, class_names: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class codes (n,) int64, -1 where unlabelled, and class names.

    Args:
        labels: One per sample; what counts as a label is said in quadlib.loss.labels.
        class_names: Names that whole numbers index, and in which text is looked up; by default the
            labels themselves.

    Raises:
        PlanError: Labels that are no class, or not one per sample.

    Example:
        >>> encode_labels(["pore", "crack", None, "pore"])
        (array([ 1,  0, -1,  1]), ('crack', 'pore'))
    """
    try:
        if class_names is None:
            return class_codes(labels)
        values, missing = (np.asarray(part) for part in read_labels(labels))
    except (TypeError, ValueError) as error:
        raise PlanError(str(error)) from error
    if values.ndim != 1:
        raise PlanError(f"one label per sample was expected, shape (n,); got shape {values.shape}")
    names = tuple(str(name) for name in class_names)
    codes = np.full(len(values), -1, dtype=np.int64)
    known = values[~missing]
    if values.dtype.kind in "iub":
        if known.size and (known.min() < 0 or known.max() >= len(names)):
            raise PlanError(
                f"labels reach from {known.min()} to {known.max()}, but there are {len(names)} "
                "class names; codes from 0 were expected"
            )
        codes[~missing] = known
        return codes, names
    position = {name: code for code, name in enumerate(names)}
    distinct, inverse = np.unique(known, return_inverse=True)
    unknown = [str(name) for name in distinct if str(name) not in position]
    if unknown:
        raise PlanError(
            f"labels {', '.join(unknown[:5])} are none of the class names {', '.join(names[:12])}"
        )
    of_distinct = np.array([position[str(name)] for name in distinct], dtype=np.int64)
    codes[~missing] = of_distinct[inverse]
    return codes, names


def encode_groups(groups: Any) -> np.ndarray:
    """Session codes (n,) int64 of one session per sample, numbers or names.

    Raises:
        PlanError: Some are missing, or they are floats.
    """
    try:
        codes, _ = class_codes(groups, unlabelled=None)
    except (TypeError, ValueError) as error:
        raise PlanError(f"groups: {str(error).replace('label', 'session')}") from error
    if (codes < 0).any():
        raise PlanError(
            f"{int((codes < 0).sum())} of {len(codes)} groups are missing; give each of these "
            "samples a session of its own"
        )
    return codes


def _epoch_length(sampler: Any, n_samples: int) -> int:
    """How many batches to draw: the sampler's own len, else a bound that sees every sample."""
    try:
        return len(sampler)
    except (TypeError, NotImplementedError):
        return max(4 * n_samples, 16)
