"""StratifiedBatchSampler: batches in which every anchor has a positive and a negative."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from torch.utils.data import Sampler

from quadlib.sampler.cells import Cells, stable_order
from quadlib.sampler.demand import Request, SamplerError
from quadlib.sampler.draws import deal, times_drawn
from quadlib.sampler.pk import PkRequest
from quadlib.sampler.plan import BatchPlan, encode_groups, encode_labels
from quadlib.sampler.settings import recipe_for


class StratifiedBatchSampler(Sampler[list[int]]):
    """Yields batches of sample indices such that every batch can teach: at least min_classes
    classes, each with at least min_per_class samples.

    With balance="natural" every sample comes exactly once per epoch, in ceil(N / batch_size)
    batches, none above batch_size. Each class's count in a batch is within one of its share of the
    epoch, except a class too rare for that, which is in as many batches as min_per_class allows, or
    fewer where batch_size asks for it. Sizes are one apart, and counts within one of their
    proportion of that very batch, wherever that was found possible; `plan` shows what came of it.
    With balance="equal" every class is drawn equally often, N draws an epoch, distinct inside a
    batch. With layout="pk" every batch holds exactly classes_per_batch classes with
    samples_per_class samples each; then either samples repeat in an epoch, or some are left out.

    The batches are a function of (seed, epoch) alone, from a generator of the sampler's own. Each
    new iteration is the next epoch, unless set_epoch says which.

    Args:
        labels: One per sample: integers, strings, a tensor, array, pandas column or list. None,
            NaN, pd.NA and -1 are unlabelled.
        batch_size: The most samples in a batch, 32 by default; with layout="pk" it follows.
        min_classes: The fewest classes in a batch.
        min_per_class: The fewest samples of a class that is in a batch.
        rare: What happens to a class smaller than min_per_class (samples_per_class): "error";
            "oversample" repeats its samples inside one batch; "drop" leaves it out. The plan's
            notes say which classes.
        balance: "natural" or "equal".
        groups: One session per sample; an anchor then finds a positive from another session
            wherever class sizes allow it.
        seed: Of the batches.
        rank: Which of world_size processes this is. It yields batch[rank::world_size] of each
            batch, which is sorted by class: ranks together are the one-process batch, their counts
            of each class are within one, and a class with at least world_size samples in the batch
            is on every rank. So min_per_class >= world_size puts every class of a batch on every
            rank; with fewer, a rank may see one class alone.
        world_size: The number of processes.
        layout: "proportional" or "pk".
        classes_per_batch: With layout="pk", the number of classes P in each batch.
        samples_per_class: With layout="pk", the number of samples K of each.
        drop_last: With layout="pk", whether an epoch draws no sample twice and leaves out what
            fills no batch (other samples in every epoch); by default every sample is drawn at least
            once, and others again where a block or batch is to be filled. With balance="equal"
            classes are drawn equally often instead, and the batches are as many as N samples fill.
        unlabelled: "error", or "drop" leaves samples without a label out of every batch. They are
            never a class.

    Raises:
        SamplerError: The laws cannot be met, or no way was found; the message names classes,
            numbers and the smallest changes, and says whether it is a proof.
        PlanError: The labels are no labels.

    Example:
        >>> labels = ["crack"] * 20 + ["pore"] * 12
        >>> sampler = StratifiedBatchSampler(labels, batch_size=8)
        >>> sampler.plan().counts.tolist()
        [[5, 3], [5, 3], [5, 3], [5, 3]]
        >>> epochs = [list(sampler) for _ in range(2)]
        >>> epochs[0] != epochs[1], all(len(batch) == 8 for batch in epochs[0] + epochs[1])
        (True, True)
    """

    def __init__(
        self,
        labels: Any,
        batch_size: int | None = None,
        *,
        min_classes: int = 2,
        min_per_class: int = 2,
        rare: Literal["error", "oversample", "drop"] = "error",
        balance: Literal["natural", "equal"] = "natural",
        groups: Any = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        layout: Literal["proportional", "pk"] = "proportional",
        classes_per_batch: int | None = None,
        samples_per_class: int | None = None,
        drop_last: bool = False,
        unlabelled: Literal["error", "drop"] = "error",
    ) -> None:
        self.codes, self.class_names = encode_labels(labels)
        self.groups = None if groups is None else encode_groups(groups)
        self._recipe = recipe_for(
            self.codes,
            self.class_names,
            self.groups,
            batch_size=batch_size,
            min_classes=min_classes,
            min_per_class=min_per_class,
            rare=rare,
            balance=balance,
            seed=seed,
            rank=rank,
            world_size=world_size,
            layout=layout,
            classes_per_batch=classes_per_batch,
            samples_per_class=samples_per_class,
            drop_last=drop_last,
            unlabelled=unlabelled,
        )
        self.seed, self.rank, self.world_size = int(seed), int(rank), int(world_size)
        self._labelled = np.flatnonzero(self.codes >= 0)
        labelled_codes = self.codes[self._labelled]
        self._class_sizes = np.bincount(labelled_codes, minlength=len(self.class_names))
        self._epoch, self._resume_at = 0, 0  # what the next iteration yields, and from which batch
        self._running: tuple[int, int] | None = None  # epoch and position of the last iteration
        self._over = True  # whether that iteration came to its end
        self._cached: tuple[int, list[np.ndarray]] | None = None

    def __len__(self) -> int:
        return self._recipe.n_batches

    def __iter__(self) -> Iterator[list[int]]:
        epoch, position = self._epoch, self._resume_at
        self._epoch, self._resume_at = epoch + 1, 0
        self._running, self._over = (epoch, position), False
        for batch in self._batches(epoch)[position:]:
            position += 1
            self._running = (epoch, position)
            yield batch[self.rank :: self.world_size].tolist()
        self._over = True

    @property
    def batch_size(self) -> int:
        """Samples in every batch of every epoch. There is no such attribute where sizes differ or
        where a rank yields its slice: accelerate and Lightning cut batches up by this number.
        """
        size = self._recipe.uniform_size
        if size is None or self.world_size > 1:
            raise AttributeError(
                "batches differ in size, so the sampler has no batch_size; plan().sizes has them"
            )
        return size

    @property
    def request(self) -> Request | PkRequest:
        """What was asked for, as whoever judges the batches reads it."""
        return self._recipe.request

    @property
    def drop_last(self) -> bool:
        """Never there: wrappers that share batches out among processes ask for it, and are refused
        where this sampler does so already.
        """
        if self.world_size > 1:
            raise SamplerError(
                f"this sampler yields the slice of rank {self.rank} of {self.world_size} already, "
                "and would be shared out a second time. Lightning: "
                "Trainer(use_distributed_sampler=False). accelerate: do not pass the loader to "
                "prepare, or leave out rank and world_size"
            )
        raise AttributeError("StratifiedBatchSampler has no attribute 'drop_last'")

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch that the next iteration yields.

        Args:
            epoch: From 0; the epoch of a state just loaded keeps its position.
        """
        if epoch != self._epoch:
            self._epoch, self._resume_at = int(epoch), 0
        self._running, self._over = None, True

    def state_dict(self, position: int | None = None) -> dict[str, Any]:
        """Where the epoch stands: after load_state_dict the next iteration yields the batches not
        yet yielded, and the one after it the next epoch.

        Args:
            position: Batches consumed so far, where a loader with workers has fetched ahead of the
                training step.

        Returns:
            Whole numbers and strings, to be saved with a checkpoint.

        Example:
            >>> sampler = StratifiedBatchSampler([0, 1] * 20, 10)
            >>> batches = iter(sampler)
            >>> first = next(batches)
            >>> other = StratifiedBatchSampler([0, 1] * 20, 10)
            >>> other.load_state_dict(sampler.state_dict())
            >>> list(other) == list(batches)
            True
        """
        reached = (self._epoch, self._resume_at)
        if self._running is not None and (position is not None or not self._over):
            reached = self._running
        return {
            "epoch": reached[0],
            "position": reached[1] if position is None else int(position),
            **self._identity(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues exactly where the state was taken; any world size may resume what another
        wrote.

        Args:
            state: What state_dict returned.

        Raises:
            SamplerError: The state is of other data or settings.
        """
        wrong = [
            f"{name} was {state.get(name)!r}, here it is {value!r}"
            for name, value in self._identity().items()
            if state.get(name) != value
        ]
        if wrong:
            raise SamplerError(
                f"the sampler state belongs to other batches: {'; '.join(wrong)}. Use the same "
                "data and settings, or start anew."
            )
        self._epoch, self._resume_at = int(state["epoch"]), int(state["position"])
        self._running, self._over = None, True

    def plan(self, epoch: int | None = None) -> BatchPlan:
        """What every batch of an epoch holds, over all ranks together.

        Args:
            epoch: By default the one that the next iteration yields.

        Returns:
            The BatchPlan.
        """
        batches = self._batches(self._epoch if epoch is None else epoch)
        notes = self._recipe.notes()
        n_unlabelled = len(self.codes) - len(self._labelled)
        if n_unlabelled:
            notes = (*notes, f"{n_unlabelled} of {len(self.codes)} samples unlabelled: left out")
        return BatchPlan(list(batches), self.codes, self.class_names, self.groups, notes)

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "n_samples": len(self.codes),
            "class_sizes": self._class_sizes.tolist(),
            **self._recipe.identity(),
        }

    def _batches(self, epoch: int) -> list[np.ndarray]:
        if self._cached is None or self._cached[0] != epoch:
            self._cached = (epoch, self._make(epoch))
        return self._cached[1]

    def _make(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self.seed, epoch])
        demand, cells = self._recipe.epoch(epoch, rng)
        # batches in random order, the cells of a class from the largest to the smallest, ties at
        # random
        number = rng.permutation(demand.n_batches)
        order = np.argsort(rng.random(len(cells.batch)))
        order = order[stable_order(cells.count.max() - cells.count[order])]
        order = order[stable_order(cells.label[order])]
        cells = Cells(number[cells.batch[order]], cells.label[order], cells.count[order])
        codes = self.codes[self._labelled]
        groups = None if self.groups is None else self.groups[self._labelled]
        times = times_drawn(codes, self._class_sizes, demand.draws, self.seed, epoch)
        samples, slots = deal(codes, groups, times, cells, rng)
        # stable: inside a batch the classes stay sorted
        by_batch = stable_order(slots)
        sizes = cells.sizes(demand.n_batches)
        return np.split(self._labelled[samples[by_batch]], np.cumsum(sizes)[:-1])
