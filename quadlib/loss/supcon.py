"""SupConLoss: the supervised contrastive loss of Khosla et al. 2020, with everything a value needs
to be read beside it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from quadlib.loss.bounds import class_counts, collapse_value, floor_of_counts
from quadlib.loss.detail import LossDetail, loss_detail
from quadlib.loss.direct import anchor_losses
from quadlib.loss.gather import gather_batch, is_distributed
from quadlib.loss.inputs import Against, Anchors, read_anchors
from quadlib.loss.labels import read_labels
from quadlib.loss.memory import UNLABELLED, CrossBatchMemory
from quadlib.loss.tiles import anchor_weights, fitting_dtype, tile_loss


class SupConLoss(nn.Module):
    """The mean over anchors that have a positive of -(1/|P|) sum over positives of ln softmax(z_i .
    z_p / T); lone anchors leave the mean.

    Without any positive the value is a zero that keeps the graph. Finite for T >= 0.005; half
    precision is computed in float32. A row of zeros has no direction: its similarities are 0, and
    so is its gradient. Where several processes share the batch (torch.distributed), a call with
    gradients gathers it from all of them, so each must make it. README.md beside this file has the
    formulae. Source: Khosla et al. 2020 (arXiv 2004.11362); denominator "negatives": Yeh et al.
    2021 (arXiv 2110.06848).

    Args:
        temperature: T; its first value where learnable_temperature.
        base_temperature: The value is multiplied by T / base_temperature where given (SupContrast:
            0.07; here no factor).
        variant: "out" or "in" (the mean over positives inside the logarithm), L_out and L_in.
        denominator: "all" others of an anchor, or its "negatives" alone (decoupled); then an anchor
            needs a negative too.
        unlabelled: Rows with this label, None or NaN are of no class: positives of their own other
            views alone, negatives of all others.
        learnable_temperature: Makes ln T a parameter, which stays within temperature_range.
        temperature_range: Least and greatest T.
        memory: Earlier embeddings to compare with too; it takes up each training batch after the
            loss.
        form: "tiles" (fast, no N x N matrix, one derivative), "direct" (the formula, any number of
            derivatives), "auto": tiles wherever they apply, with the same value.

    Raises:
        ValueError: A setting is out of its range; all of them are named at once.

    Example:
        >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> SupConLoss(temperature=0.1)(embeddings, [0, 1, 0, 1])
        tensor(10.0001)
        >>> SupConLoss(temperature=0.1)(embeddings, ["a", "a", "b", "b"]).item() < 1e-4
        True
    """

    def __init__(
        self,
        temperature: float = 0.07,
        *,
        base_temperature: float | None = None,
        variant: Literal["out", "in"] = "out",
        denominator: Literal["all", "negatives"] = "all",
        unlabelled: int | str | None = -1,
        learnable_temperature: bool = False,
        temperature_range: tuple[float, float] = (0.01, 1.0),
        memory: CrossBatchMemory | None = None,
        form: Literal["auto", "tiles", "direct"] = "auto",
    ) -> None:
        super().__init__()
        low, high = temperature_range if learnable_temperature else (temperature, temperature)
        problems = [
            f"{name} is {value!r}; a finite number above 0 was expected"
            for name, value in (
                ("temperature", temperature),
                ("base_temperature", base_temperature),
                ("temperature_range[0]", low),
            )
            if value is not None and not (value > 0 and math.isfinite(value))
        ]
        problems += [
            f"{name} is {value!r}; one of {', '.join(known)} was expected"
            for name, value, known in (
                ("variant", variant, ("out", "in")),
                ("denominator", denominator, ("all", "negatives")),
                ("form", form, ("auto", "tiles", "direct")),
            )
            if value not in known
        ]
        if not problems and not low <= temperature <= high:
            problems.append(
                f"temperature {temperature} is not in temperature_range {temperature_range}"
            )
        if not problems and form == "tiles" and fitting_dtype(low, torch.float32) is None:
            problems.append(f"temperature {low} is too low for form='tiles'; use form='auto'")
        if problems:
            raise ValueError("; ".join(problems))
        self.base_temperature, self.unlabelled, self.memory = base_temperature, unlabelled, memory
        self.variant, self.denominator, self.form = variant, denominator, form
        self.temperature_range = (low, high)
        self.log_temperature = (
            nn.Parameter(torch.tensor(math.log(temperature))) if learnable_temperature else None
        )
        self._fixed_temperature = temperature

    @property
    def temperature(self) -> float:
        """T as a number; where it is learnable, its present value."""
        return (
            self._fixed_temperature
            if self.log_temperature is None
            else float(self.log_temperature.detach().exp())
        )

    def forward(
        self,
        embeddings: Tensor,
        labels: Any = None,
        *,
        mask: Any = None,
        n_views: int | None = None,
        index: Tensor | None = None,
        against: Against | None = None,
        ignore: Any = None,
        weights: Any = None,
    ) -> Tensor:
        """The loss in nats, a scalar in float32 (float64 for float64 embeddings).

        Args:
            embeddings: (N, D), or (N, V, D) with V views of each sample; (V*N, D) with n_views=V
                holds the views one after the other. Normalised inside.
            labels: One per sample, (N,) integers or strings, or (N, L) bool of several labels each
                (positives share one); see read_labels. None makes a sample's other views its
                positives (NT-Xent).
            mask: (N, N), instead of labels: mask[i, j] weighs j as a positive of i, from 0 up; the
                weights of a row are divided by their sum, and a pair above 0 is no negative.
            n_views: V, where the views are stacked.
            index: The samples' indices (N,), by which the memory keeps an anchor from older copies
                of itself.
            against: (other, other_labels): the anchors meet these embeddings (M, D) or (M, V, D)
                alone, and no anchor is kept from a copy of itself among them. They get a gradient
                where they ask for one. Without labels on both sides row i is the positive of anchor
                i; a mask is (N, M). Not gathered from other processes, nor is the batch.
            ignore: Pairs that are neither positive nor negative: (N, N) bool ((N, M) with against),
                or one group per sample (N,), whose pairs count neither way (None and -1: no group).
                A sample's own views are never ignored.
            weights: What each sample counts in the mean, (N,) from 0 up, or a mapping from class to
                weight; as a positive or negative of others it counts as ever.

        Returns:
            The value, differentiable.

        Raises:
            TypeError, ValueError: What was passed does not fit together; what was expected is said.
        """
        training = torch.is_grad_enabled()
        if training and against is None and is_distributed():
            embeddings, labels, n_views, index, ignore, weights = self._gathered(
                embeddings, labels, mask, n_views, index, ignore, weights
            )
        extras = {"against": against, "ignore": ignore, "weights": weights}
        anchors = read_anchors(embeddings, labels, mask, n_views, self.unlabelled, **extras)
        value = self._compute(self._with_memory(anchors, labels, index))[0]
        if self.memory is not None and training and self.training:
            assert anchors.codes is not None and anchors.unlabelled is not None
            codes = torch.where(anchors.unlabelled, UNLABELLED, anchors.codes)
            views = len(codes) // len(index) if index is not None and len(index) else 1
            self.memory.push(anchors.rows, codes, None if index is None else index.repeat(views))
        return value

    def bounds(self, labels: Any) -> tuple[float, float] | None:
        """Collapse value and floor of a batch with these labels, one row each, in the scale of its
        value; None where no anchor has a positive, or where there is no floor.
        """
        counts = class_counts(labels, unlabelled=self.unlabelled)
        if counts.max() < 2 or self.denominator == "negatives":
            return None
        floor = float(floor_of_counts(counts, self.temperature)) * self._scale()
        return collapse_value(int(counts.sum())) * self._scale(), floor

    @torch.no_grad()
    def detail(
        self,
        embeddings: Tensor,
        labels: Any = None,
        *,
        mask: Any = None,
        n_views: int | None = None,
        index: Tensor | None = None,
        against: Against | None = None,
        ignore: Any = None,
        weights: Any = None,
    ) -> LossDetail:
        """The value of the loss with its parts, of this process's batch: per anchor, positives,
        anchors used, and its place between collapse and floor. Takes what a call takes.
        """
        extras = {"against": against, "ignore": ignore, "weights": weights}
        anchors = read_anchors(embeddings, labels, mask, n_views, self.unlabelled, **extras)
        anchors = self._with_memory(anchors, labels, index)
        negatives = self.denominator == "negatives"
        computed, temperature = self._compute(anchors), self.temperature
        return loss_detail(anchors, computed, temperature, self._scale(), negatives)

    def _scale(self) -> float:
        return 1.0 if self.base_temperature is None else self.temperature / self.base_temperature

    def _compute(self, anchors: Anchors) -> tuple[Tensor, Tensor, Tensor]:
        """Value, and per anchor its loss in nats and whether it is used; never in half precision,
        whatever autocast says.
        """
        device = anchors.rows.device.type
        if not anchors.rows.is_meta and torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self._compute(anchors)
        temperature, rows = self._clamped_temperature(), anchors.rows
        dtype = fitting_dtype(self.temperature_range[0], rows.dtype)
        if (
            self.form != "direct"
            and dtype
            and anchors.codes is not None
            and anchors.ignored is None
        ):
            value, per_anchor, used = self._tiled(anchors, anchors.codes, temperature, dtype)
        elif self.form == "tiles":
            raise ValueError(
                "form='tiles' takes labels, one each, not a mask, several labels a sample or pairs "
                "to ignore; use form='auto'"
            )
        else:
            per_anchor, used = anchor_losses(anchors, temperature, self.variant, self.denominator)
            value = per_anchor @ anchor_weights(used, anchors.importance, per_anchor.dtype)
        if self.base_temperature is not None:
            value = value * (temperature / self.base_temperature)
        return value.to(rows.dtype), per_anchor.to(rows.dtype), used

    def _tiled(
        self, anchors: Anchors, codes: Tensor, temperature: float | Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor]:
        try:
            return tile_loss(
                anchors.rows.to(dtype),
                codes,
                temperature,
                self.variant,
                denominator=self.denominator,
                keys=None if anchors.others is None else anchors.others.to(dtype),
                key_codes=anchors.other_codes,
                alone=anchors.alone,
                groups=anchors.groups,
                importance=anchors.importance,
            )
        except RuntimeError as error:
            if "setup_context" not in str(error):
                raise
            raise RuntimeError(
                "the tiled form makes its gradient with its value and cannot be transformed by "
                "torch.func; use SupConLoss(..., form='direct')"
            ) from error

    def _clamped_temperature(self) -> float | Tensor:
        if self.log_temperature is None:
            return self._fixed_temperature
        with torch.no_grad():
            # the parameter itself is brought back, so that its gradient at the edge still points
            # inwards or out
            self.log_temperature.clamp_(*(math.log(edge) for edge in self.temperature_range))
        return self.log_temperature.exp()

    def _with_memory(self, anchors: Anchors, labels: Any, index: Tensor | None) -> Anchors:
        """The anchors with the memory's entries to compare with, where there is one."""
        memory = self.memory
        if memory is None:
            return anchors
        if anchors.alone or anchors.groups is not None or anchors.ignored is not None:
            raise ValueError(
                "a memory goes neither with against nor with ignore; use a second SupConLoss "
                "without memory for them"
            )
        if anchors.codes is None:
            raise ValueError(
                "a memory needs one label per sample; a mask or several labels a sample say "
                "nothing about earlier batches"
            )
        if labels is None and memory.holds_labels():
            raise ValueError(
                "labels are None, but the memory holds labelled embeddings; pass labels in every "
                "batch, the unlabelled value for samples without one, or memory.reset()"
            )
        if labels is not None:
            values = read_labels(labels, self.unlabelled).values
            if not isinstance(values, Tensor) and values.dtype.kind == "U":
                raise TypeError(
                    "a memory needs integer labels, the same for a class in every batch; strings "
                    "are numbered anew in each"
                )
        if not len(memory):
            return anchors
        keys, key_codes = memory.keys(index)
        return replace(anchors, others=keys, other_codes=key_codes)

    def _gathered(
        self,
        embeddings: Tensor,
        labels: Any,
        mask: Any,
        n_views: int | None,
        index: Tensor | None,
        ignore: Any,
        weights: Any,
    ) -> tuple[Tensor, Tensor | None, int | None, Tensor | None, Tensor | None, Tensor | None]:
        """What the loss takes, of all processes."""
        unclear = {
            "mask": mask is not None,
            "labels": not (labels is None or isinstance(labels, Tensor)),
            "ignore": not (ignore is None or isinstance(ignore, Tensor) and ignore.ndim == 1),
            "weights": not (weights is None or isinstance(weights, Tensor)),
        }
        if any(unclear.values()):
            raise TypeError(
                "where several processes share the batch, labels must be an integer tensor, one "
                "per sample, the same for a class on every process, and ignore and weights tensors "
                "with one value per sample; not so: "
                + ", ".join(name for name, is_unclear in unclear.items() if is_unclear)
            )
        if embeddings.ndim == 2 and n_views:
            stacked = cast(Any, embeddings).unflatten(0, (n_views, -1))
            embeddings = stacked.transpose(0, 1)
        if labels is not None:
            labels = cast(Tensor, read_labels(labels, self.unlabelled).values)
        embeddings, columns = gather_batch(embeddings, labels, index, ignore, weights)
        labels, index, ignore, weights = columns
        return embeddings, labels, None, index, ignore, weights

    def extra_repr(self) -> str:
        """What print(loss) shows."""
        return (
            f"temperature={self.temperature:g}, base_temperature={self.base_temperature}, "
            f"variant={self.variant!r}, denominator={self.denominator!r}, form={self.form!r}"
        )
