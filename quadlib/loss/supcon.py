"""SupConLoss: the supervised contrastive loss of Khosla et al. 2020, with everything a value needs
to be read beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from quadlib.loss import bounds
from quadlib.loss.direct import anchor_losses
from quadlib.loss.gather import gather_batch, is_distributed
from quadlib.loss.inputs import Anchors, read_anchors
from quadlib.loss.memory import CrossBatchMemory
from quadlib.loss.tiles import fitting_dtype, tile_loss


@dataclass(frozen=True)
class LossDetail:
    """What a loss value is made of; tensors are detached and have one entry per anchor (n_views
    blocks of the batch, view by view).

    per_anchor: loss of each anchor in nats, 0 where unused. positives: positives of each anchor.
    used: the anchors that have a positive. n_used: how many. value: their mean, as the loss reports
    it. collapse, floor, progress: see bounds; floor and progress are NaN where positives come from
    a mask. excess: value above the floor, in the scale of value.
    """

    per_anchor: Tensor
    positives: Tensor
    used: Tensor
    n_used: int
    value: float
    collapse: float
    floor: float
    excess: float
    progress: float


class SupConLoss(nn.Module):
    """The mean over anchors that have a positive of -(1/|P|) sum over positives of ln softmax(z_i .
    z_p / T); lone anchors leave the mean.

    temperature: T, its first value where learnable_temperature, when it stays within
    temperature_range. base_temperature: the value is multiplied by T / base_temperature where given
    (SupContrast: 0.07; here no factor). variant: "out" or "in" (the mean over positives inside the
    logarithm), L_out and L_in of Khosla et al. 2020 (arXiv 2004.11362). unlabelled: rows with this
    label are of no class: positives of their own other views alone, negatives of all others.
    memory: earlier embeddings to compare with too; it takes up each training batch after the loss.
    form: "tiles" (loss_tiles: fast, no N x N matrix, one derivative), "direct" (the formula, any
    number of derivatives), "auto": tiles wherever they apply. Half precision is computed in
    float32; finite for T >= 0.005. Without any positive the value is a zero that keeps the graph.
    Where several processes share the batch (torch.distributed), a call with gradients gathers it
    from all of them, so each must make it.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        *,
        base_temperature: float | None = None,
        variant: Literal["out", "in"] = "out",
        unlabelled: int = -1,
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
        self.base_temperature, self.variant, self.unlabelled, self.memory, self.form = (
            base_temperature,
            variant,
            unlabelled,
            memory,
            form,
        )
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
        mask: Tensor | None = None,
        n_views: int | None = None,
        index: Tensor | None = None,
    ) -> Tensor:
        """The loss in nats, a scalar in float32 (float64 for float64 embeddings).

        embeddings: (N, D), or (N, V, D) with V views of each sample; (V*N, D) with n_views=V holds
        the views one after the other. Normalised inside. labels: one per sample, any integer dtype,
        strings, or an (N, L) matrix of several labels each (positives share one); None makes a
        sample's other views its positives (NT-Xent). mask: (N, N), mask[i, j] weighs j as a
        positive of i, instead of labels. index: the samples' indices, by which the memory keeps an
        anchor from older copies of itself.
        """
        training = torch.is_grad_enabled()
        if training and is_distributed():
            embeddings, labels, n_views, index = self._gathered(
                embeddings, labels, mask, n_views, index
            )
        anchors = read_anchors(embeddings, labels, mask, n_views, self.unlabelled)
        keys = self._keys(anchors, index)
        value, _, _ = self._compute(anchors, keys)
        if self.memory is not None and training and self.training:
            self._remember(self.memory, anchors, labels, index)
        return value

    def bounds(self, labels: Tensor) -> tuple[float, float] | None:
        """Collapse value and floor of a batch with these labels, one row each, in the scale of its
        value; None where no anchor has a positive.
        """
        codes, counts = torch.unique(labels.cpu(), return_counts=True)
        alone = int(counts[codes == self.unlabelled].sum())
        sizes = np.append(counts[codes != self.unlabelled].numpy(), np.ones(alone, dtype=np.int64))
        if sizes.max(initial=0) < 2:
            return None
        floor = bounds.floor(sizes, self.temperature, kind="counts")
        return bounds.collapse_value(len(labels)) * self._scale(), floor * self._scale()

    @torch.no_grad()
    def detail(
        self,
        embeddings: Tensor,
        labels: Any = None,
        *,
        mask: Tensor | None = None,
        n_views: int | None = None,
        index: Tensor | None = None,
    ) -> LossDetail:
        """The value of the loss with its parts, of this process's batch: per anchor, positives,
        anchors used, and its place between collapse and floor.
        """
        anchors = read_anchors(embeddings, labels, mask, n_views, self.unlabelled)
        keys = self._keys(anchors, index)
        value_tensor, per_anchor, used = self._compute(anchors, keys)
        n_used, n_compared = (
            int(used.sum()),
            len(anchors.rows) + (0 if keys is None else len(keys[0])),
        )
        value, scale = float(value_tensor), self._scale()
        collapse = bounds.collapse_value(n_compared) * scale if n_compared > 1 else math.nan
        floor = math.nan
        if anchors.codes is not None and n_used and keys is None:
            counts = torch.unique(anchors.codes, return_counts=True)[1].cpu().numpy()
            floor = float(bounds.floor_of_counts(counts, self.temperature)) * scale
        room = collapse - floor
        return LossDetail(
            per_anchor * scale,
            anchors.positives(keys),
            used,
            n_used,
            value,
            collapse,
            floor,
            value - floor,
            (collapse - value) / room if room > 1e-9 else math.nan,
        )

    def _compute(
        self, anchors: Anchors, keys: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Value, and per anchor its loss in nats and whether it is used; never in half precision,
        whatever autocast says.
        """
        device = anchors.rows.device.type
        if torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self._compute(anchors, keys)
        temperature = self._clamped_temperature()
        dtype = (
            None
            if anchors.codes is None or self.form == "direct"
            else fitting_dtype(self.temperature_range[0], anchors.rows.dtype)
        )
        if dtype is not None and anchors.codes is not None:
            known, known_codes = keys if keys is not None else (None, None)
            result = tile_loss(
                anchors.rows.to(dtype),
                anchors.codes,
                temperature,
                self.variant,
                keys=known,
                key_codes=known_codes,
            )
            value, per_anchor, used = result.value, result.per_anchor, result.used
        elif self.form == "tiles":
            raise ValueError(
                "form='tiles' takes labels, one each, not a mask or several labels a sample; use "
                "form='auto'"
            )
        else:
            per_anchor, used = anchor_losses(anchors, temperature, self.variant, keys)
            value = per_anchor.sum() / used.sum().clamp(min=1)
        if self.base_temperature is not None:
            value = value * (temperature / self.base_temperature)
        return value.to(anchors.rows.dtype), per_anchor.to(anchors.rows.dtype), used

    def _clamped_temperature(self) -> float | Tensor:
        if self.log_temperature is None:
            return self._fixed_temperature
        with torch.no_grad():
            # the parameter itself is brought back, so that its gradient at the edge still points
            # inwards or out
            self.log_temperature.clamp_(*(math.log(edge) for edge in self.temperature_range))
        return self.log_temperature.exp()

    def _keys(self, anchors: Anchors, index: Tensor | None) -> tuple[Tensor, Tensor] | None:
        if self.memory is None or not len(self.memory):
            return None
        if anchors.codes is None:
            raise ValueError(
                "a memory needs one label per sample; a mask or several labels a sample say "
                "nothing about earlier batches"
            )
        return self.memory.keys(index)

    def _remember(
        self, memory: CrossBatchMemory, anchors: Anchors, labels: Any, index: Tensor | None
    ) -> None:
        if labels is None or isinstance(labels, Tensor) or np.asarray(labels).dtype.kind in "iub":
            assert anchors.codes is not None
            views = 1 if labels is None else len(anchors.codes) // len(labels)
            known = torch.full_like(anchors.codes, self.unlabelled)
            if labels is not None:
                raw = torch.as_tensor(labels, device=known.device).to(torch.int64).repeat(views)
                known = torch.where(raw == self.unlabelled, known, raw)
            if index is not None:
                index = index.repeat(len(anchors.codes) // len(index))
            memory.push(anchors.rows, known, index)
        else:
            raise TypeError(
                "a memory needs integer labels, the same for a class in every batch; strings are "
                "numbered anew in each"
            )

    def _gathered(
        self,
        embeddings: Tensor,
        labels: Any,
        mask: Tensor | None,
        n_views: int | None,
        index: Tensor | None,
    ) -> tuple[Tensor, Tensor | None, int | None, Tensor | None]:
        if mask is not None or not (labels is None or isinstance(labels, Tensor)):
            raise TypeError(
                "where several processes share the batch, labels must be an integer tensor, one "
                "per sample, the same for a class on every process"
            )
        if embeddings.ndim == 2 and n_views:
            embeddings = embeddings.unflatten(0, (n_views, -1)).transpose(0, 1)
        labels = None if labels is None else labels.to(embeddings.device)
        embeddings, labels, index = gather_batch(embeddings, labels, index)
        return embeddings, labels, None, index

    def _scale(self) -> float:
        return 1.0 if self.base_temperature is None else self.temperature / self.base_temperature

    def extra_repr(self) -> str:
        return (
            f"temperature={self.temperature:g}, base_temperature={self.base_temperature}, "
            f"variant={self.variant!r}, form={self.form!r}"
        )
