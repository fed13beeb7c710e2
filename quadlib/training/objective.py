"""The training objective: one loss on the fused embedding, within each modality and across
modalities.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from quadlib.config import ObjectiveSettings
from quadlib.loss import SupConLoss
from quadlib.model.quad import Embeddings
from quadlib.registry import LOSSES
from quadlib.training.memory import Entries, FusedMemory

PROGRESS_MEMORY = 0.95  # of the running mean of a modality's own progress, a batch


class ObjectiveValue(NamedTuple):
    """The weighted total and its terms, unweighted; a term that has no weight, no second modality
    to cross, or none that has entered it yet, is None.

    `fused` is always there: where the loss declares bounds, it is the value between them. `memory`
    is the same term with the embeddings of earlier batches, and stands in its place in the total.
    `progress` (M,) is each modality's own between collapse (0) and floor (1), NaN where it has
    none; None where it is not followed. `entries` are what the memory may keep.
    """

    total: Tensor
    fused: Tensor
    within: Tensor | None
    cross: Tensor | None
    cross_entropy: Tensor | None
    memory: Tensor | None = None
    progress: Tensor | None = None
    entries: Entries | None = None

    def terms(self) -> dict[str, Tensor]:
        """The total and the terms that there are, detached."""
        return {
            name: term.detach()
            for name, term in self._asdict().items()
            if name not in ("progress", "entries") and term is not None
        }


class QuadObjective(nn.Module):
    """`fused_weight` x loss(fused) + `within_weight` x mean over modalities of loss(that modality's
    embeddings) + `cross_weight` x loss(all modalities' embeddings pooled as one batch) +
    `cross_entropy_weight` x linear cross-entropy.

    The loss is the one registered under `settings.loss`; its parameters, if it has any, start from
    settings.seed alone, and belong to the optimiser and the checkpoint. Absent (row, modality)
    pairs are left out of every term: neither anchors, positives nor negatives; so are pairs of one
    session in contrastive terms where settings.same_session is "ignore", except for the modalities
    of one recording. A modality in which no two present rows are positives leaves the mean of the
    within term. Labels of -1 are unlabelled. All in float32, whatever the autocast dtype.

    A modality enters the cross term once `progress`, the running mean of its own progress, is at
    `gate` (settings.cross_gate): before, it has nothing to say, and would pull the others onto
    the plateau. Only `follow` moves that mean. Nothing is gated where the loss has no bounds, where
    n_modalities is not given, and where within_weight is 0: then the cross term alone trains the
    modalities' heads.

    With settings.memory_rows the fused term meets the fused embeddings of earlier batches too, see
    FusedMemory; the others, of which a memory would be the modalities times as large, do not. Only
    `follow` fills it.

    Raises RegistryError for a loss that is not registered, ValueError for one that cannot ignore
    pairs.
    """

    progress: Tensor

    def __init__(
        self,
        settings: ObjectiveSettings,
        n_classes: int,
        embedding_dim: int,
        n_modalities: int = 0,
    ) -> None:
        super().__init__()
        self.settings = settings
        make = LOSSES[settings.loss]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(getattr(settings, "seed", 0))
            self.contrast: nn.Module = make(settings, n_classes, embedding_dim)
        self._bounds = getattr(self.contrast, "bounds", None)
        self._ignores = settings.same_session == "ignore"
        if self._ignores:
            if not isinstance(self.contrast, SupConLoss):
                raise ValueError(
                    f"same_session is 'ignore', but the loss {settings.loss!r} cannot leave pairs "
                    "out; use loss='supcon', or same_session='positive'"
                )
            self._bounds = None  # a floor over pairs of other sessions alone is not known
        self.gate = settings.cross_gate
        self.gated = bool(
            settings.cross_weight and settings.within_weight and self.bounded and n_modalities > 1
        )
        if self.gated:
            self.register_buffer("progress", torch.zeros(n_modalities))
        self.memory: FusedMemory | None = None
        if settings.memory_rows:
            self.memory = FusedMemory(settings, embedding_dim)
        self.classifier: nn.Linear | None = None
        if settings.cross_entropy_weight:
            # The loss is convex in a linear layer, which then needs no random start: no random
            # number is drawn here.
            self.classifier = nn.utils.skip_init(nn.Linear, embedding_dim, n_classes)
            nn.init.zeros_(self.classifier.weight)
            nn.init.zeros_(self.classifier.bias)

    @property
    def bounded(self) -> bool:
        """Whether the loss declares a floor and a collapse value."""
        return self._bounds is not None

    def bounds(self, labels: Tensor) -> tuple[float, float] | None:
        """Collapse value and floor of the fused term of a batch with these labels (B,); None where
        no two of them are equal.
        """
        assert self._bounds is not None
        return self._bounds(labels)

    def forward(
        self,
        embeddings: Embeddings,
        labels: Tensor,
        present: Tensor,
        sessions: Tensor | None = None,
        index: Tensor | None = None,
    ) -> ObjectiveValue:
        """Terms of a batch: labels (B,) int64, present (B, M) bool, sessions (B,) int64, needed
        where same_session is "ignore", index (B,) int64 by which the memory knows a recording
        again; raises ValueError where no weighted term applies.
        """
        settings = self.settings
        if self._ignores and sessions is None:
            raise ValueError(
                "same_session is 'ignore', but the batch has no sessions; batches of quadlib's "
                "QuadDataset have them"
            )
        sessions = sessions if self._ignores else None
        with torch.autocast(labels.device.type, enabled=False):
            entries = memory = None
            if self.memory is not None:
                entries = Entries(embeddings.fused.float(), labels, index)
                memory = self.memory(entries) if self.memory.takes_part else None
            with torch.set_grad_enabled(torch.is_grad_enabled() and memory is None):
                fused = self._contrast(embeddings.fused.float(), labels, sessions)
            within, progress = (
                self._within(embeddings.by_modality.float(), labels, present, sessions)
                if settings.within_weight
                else (None, None)
            )
            entered = self.entered() if self.gated else present.new_ones(present.shape[1])
            crossing = settings.cross_weight and present.shape[1] > 1 and bool(entered.any())
            cross = (
                self._cross(embeddings.by_modality.float(), labels, present & entered, sessions)
                if crossing
                else None
            )
            cross_entropy = (
                self._cross_entropy(embeddings.fused.float(), labels)
                if self.classifier is not None
                else None
            )
        weighted = [
            weight * term
            for weight, term in (
                (settings.fused_weight, fused if memory is None else memory),
                (settings.within_weight, within),
                (settings.cross_weight, cross),
                (settings.cross_entropy_weight, cross_entropy),
            )
            if weight and term is not None
        ]
        if not weighted:
            raise ValueError(
                "only cross_weight is above 0, but one modality has nothing to cross; set "
                "fused_weight or within_weight"
            )
        total = torch.stack(weighted).sum()
        return ObjectiveValue(total, fused, within, cross, cross_entropy, memory, progress, entries)

    def entered(self) -> Tensor:
        """Which modalities are in the cross term, (M,) bool."""
        return self.progress >= self.gate

    def follow(self, value: ObjectiveValue) -> None:
        """Moves the running means by a batch that was trained on, and puts it into the memory; a
        modality without a value in it stays.
        """
        if self.memory is not None and value.entries is not None:
            self.memory.keep(value.entries)
        if value.progress is not None:
            moved = self.progress.lerp(value.progress, 1 - PROGRESS_MEMORY)
            self.progress.copy_(torch.where(moved.isnan(), self.progress, moved))

    def _contrast(self, rows: Tensor, labels: Tensor, ignore: Tensor | None) -> Tensor:
        value: Tensor = (
            self.contrast(rows, labels)
            if ignore is None
            else self.contrast(rows, labels, ignore=ignore)
        )
        return value

    def _within(
        self, by_modality: Tensor, labels: Tensor, present: Tensor, sessions: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The mean over modalities, and the progress of each, (M,), where the cross term asks."""
        same = (labels[:, None] == labels) & (labels >= 0)
        same.fill_diagonal_(False)
        if sessions is not None:
            same &= sessions[:, None] != sessions
        pairs = torch.einsum("im,ij,jm->m", present.float(), same.float(), present.float())
        rows = [
            column.nonzero().flatten().to(labels.device) for column in present.cpu().unbind(dim=1)
        ]
        values = [
            self._contrast(
                by_modality[kept, m], labels[kept], None if sessions is None else sessions[kept]
            )
            if paired
            else by_modality[:, m].sum() * 0.0  # keeps the graph where no modality has a pair
            for m, (kept, paired) in enumerate(zip(rows, (pairs > 0).tolist(), strict=True))
        ]
        each = torch.stack(values)
        progress = None
        if self.gated:
            of_all = self.bounds(labels)  # also of each modality that no row lacks
            ends = [
                of_all
                if len(kept) == len(labels)
                else self.bounds(labels[kept])
                if len(kept)
                else None
                for kept in rows
            ]
            progress = torch.tensor(
                [
                    math.nan if end is None else (end[0] - value) / max(end[0] - end[1], 1e-9)
                    for end, value in zip(ends, each.tolist(), strict=True)
                ],
                device=labels.device,
            )
        return each.sum() / (pairs > 0).sum().clamp(min=1), progress

    def _cross(
        self, by_modality: Tensor, labels: Tensor, present: Tensor, sessions: Tensor | None
    ) -> Tensor:
        kept = present.flatten()
        recording = torch.arange(len(labels), device=labels.device)
        recording = recording.repeat_interleave(present.shape[1])[kept]
        ignore = None
        if sessions is not None:
            session = sessions[recording]
            ignore = (session[:, None] == session) & (recording[:, None] != recording)
        return self._contrast(by_modality.flatten(0, 1)[kept], labels[recording], ignore)

    def _cross_entropy(self, fused: Tensor, labels: Tensor) -> Tensor:
        assert self.classifier is not None
        values = nn.functional.cross_entropy(
            self.classifier(fused), labels, ignore_index=-1, reduction="sum"
        )
        return values / (labels >= 0).sum().clamp(min=1)


def supcon(settings: Any, n_classes: int, embedding_dim: int) -> SupConLoss:
    """The default loss, with the temperature and the variant that the settings name."""
    return SupConLoss(settings.temperature, variant=settings.loss_variant)


LOSSES.register("supcon", supcon)
