"""What a subject's loss computes: told by its values on embeddings of known geometry, against the
formula in float64.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from quadlib.diagnosis import conventions
from quadlib.diagnosis.subject import Unavailable, codes_of

if TYPE_CHECKING:
    from quadlib.diagnosis.evidence.examination import Examination

# What the formula is compared with: the two of Khosla et al. 2020, then common slips.
VARIANTS = {
    "out": "L_out",
    "in": "L_in",
    "self in denominator": "L_out with the anchor itself in the denominator",
    "self as positive": "L_out with the anchor itself among its positives",
}
RIGHT = ("out", "in")


@dataclass(frozen=True)
class Match:
    """The loss is `scale` times a variant of SupCon at this temperature, on every fixture."""

    variant: str
    temperature: float
    scale: float


def supcon(
    embeddings: Tensor, codes: np.ndarray, temperature: float, variant: str = "out"
) -> float:
    """SupCon in float64 of rows taken as they are (N, D), mean over the anchors that have a
    positive; NaN where none has.
    """
    rows = embeddings.detach().double().cpu()
    labels = torch.as_tensor(codes)
    eye = torch.eye(len(rows), dtype=torch.bool)
    same = (labels[:, None] == labels) & ~eye
    used = same.any(dim=1)
    if not used.any():
        return math.nan
    if variant == "self as positive":
        same = same | eye
    similar = rows @ rows.T / temperature
    compared = (
        similar
        if variant in ("self in denominator", "self as positive")
        else similar.masked_fill(eye, -math.inf)
    )
    log_probability = similar - torch.logsumexp(compared, dim=1, keepdim=True)
    count = same.sum(dim=1).clamp(min=1)
    if variant == "in":
        values = -(
            torch.logsumexp(log_probability.masked_fill(~same, -math.inf), dim=1) - count.log()
        )
    else:
        values = -log_probability.masked_fill(~same, 0.0).sum(dim=1) / count
    return float(values[used].mean())


class LossReading:
    """The subject's loss on the first batch and on fixtures of the same shape and labels; a copy of
    it is called, never itself.

    Raises Unavailable where there is no loss, or where it does not answer to (embeddings, labels).
    """

    def __init__(self, x: Examination) -> None:
        self.subject, self.limits = x.subject, x.limits
        if self.subject.loss is None:
            raise Unavailable("no loss")
        if getattr(self.subject.loss, "memory", None) is not None:
            raise Unavailable("the loss also compares with a memory of earlier batches")
        self.labels, self.codes = codes_of(x.batch_labels), x.embedded_labels
        self.rows = x.embeddings
        if (self.codes < 0).any():
            raise Unavailable("labels below 0 are unlabelled to some losses and a class to others")
        self.views = len(self.rows) // max(len(x.batch_labels), 1)
        try:
            self.loss = copy.deepcopy(self.subject.loss)
        except Exception as error:
            raise Unavailable(
                f"the loss cannot be copied, so calling it could change it: {error}"
            ) from error
        self.name = getattr(self.subject.loss, "__name__", type(self.subject.loss).__name__)

    @cached_property
    def three_dimensional(self) -> bool:
        """Whether the loss takes (N, V, D) rather than (N, D): what several views suggest, else
        what the loss accepts.
        """
        first = self.views > 1
        for form in (first, not first):
            try:
                self._call(self.rows, form, self.labels)
            except Exception:  # the other form is tried; where both fail, the error is told below
                continue
            return form
        self._call(self.rows, first, self.labels)
        return first

    def _call(self, rows: Tensor, three: bool, labels: np.ndarray) -> Tensor:
        shaped = rows.unflatten(0, (self.views, -1)).transpose(0, 1) if three else rows
        codes = torch.as_tensor(labels, device=rows.device)
        with torch.random.fork_rng(devices=[]):
            try:
                value = self.loss(shaped, codes)
            except TypeError as error:
                raise Unavailable(
                    f"the loss does not take (embeddings, labels): {error}"
                ) from error
        value = getattr(value, "total", value)
        if not isinstance(value, Tensor):
            raise Unavailable(f"the loss gives {type(value).__name__}, not a tensor")
        return value

    def tensor(self, rows: Tensor, labels: np.ndarray | None = None) -> Tensor:
        """The loss of rows (N, D), views stacked view by view, with other labels (one a sample)
        where given.
        """
        return self._call(rows, self.three_dimensional, self.labels if labels is None else labels)

    def value(self, rows: Tensor, labels: np.ndarray | None = None) -> float:
        with torch.no_grad():
            value = self.tensor(rows, labels).detach()
        return float(value) if value.numel() == 1 else float(value.float().mean())

    @cached_property
    def fixtures(self) -> list[Tensor]:
        """Unit rows of the batch's shape: scattered, gathered by label, and in a cone."""
        generator = torch.Generator().manual_seed(0)
        shape = self.rows.shape
        which = np.unique(self.codes, return_inverse=True)[1].reshape(-1)
        centres = torch.randn(len(self.codes), shape[1], generator=generator)
        noise = [torch.randn(shape, generator=generator) for _ in range(3)]
        made = (noise[0], centres[torch.as_tensor(which)] + noise[1], noise[2] + 1.5)
        return [
            nn.functional.normalize(rows, dim=1).to(self.rows.device, self.rows.dtype)
            for rows in made
        ]

    @cached_property
    def fixture_values(self) -> list[float]:
        return [self.value(rows) for rows in self.fixtures]

    @cached_property
    def temperatures(self) -> list[float]:
        """Temperatures that the loss or the settings declare."""
        return list(dict.fromkeys(declared_temperatures(self.subject)))

    @property
    def declares(self) -> bool:
        """Whether the loss calls itself a supervised contrastive loss."""
        return (
            "".join(letter for letter in self.name.lower() if letter.isalpha())
            in conventions.SUPCON_NAMES
        )

    @cached_property
    def match(self) -> Match | None:
        """Which variant of SupCon the loss is a multiple of on every fixture; None where it is none
        of them.
        """
        return self.matching(self.fixtures, VARIANTS)

    def matching(self, rows: list[Tensor], variants: Any) -> Match | None:
        """The first variant and temperature of which the loss of the fixtures is a constant
        multiple, with the rows as given here.
        """
        values = np.array(self.fixture_values)
        if not np.isfinite(values).all():
            return None
        for temperature in self.temperatures:
            for variant in variants:
                expected = np.array(
                    [supcon(item, self.codes, temperature, variant) for item in rows]
                )
                if not np.isfinite(expected).all() or np.abs(expected).min() < 1e-9:
                    continue
                ratios = values / expected
                if (
                    np.abs(ratios).min() > 1e-6
                    and np.ptp(ratios) <= self.limits.same_loss * np.abs(ratios).max()
                ):
                    return Match(variant, temperature, float(np.median(ratios)))
        return None

    def temperature_at_work(self) -> Match | None:
        """The temperature, declared or not, at which the loss is a multiple of SupCon on every
        fixture; None where there is none.
        """
        values = np.array(self.fixture_values)
        if not np.isfinite(values).all() or np.abs(values).min() < 1e-9:
            return None

        def spread(log_temperature: float, variant: str) -> float:
            ratios = values / np.array(
                [
                    supcon(item, self.codes, math.exp(log_temperature), variant)
                    for item in self.fixtures
                ]
            )
            return (
                float(np.ptp(ratios) / np.abs(ratios).max())
                if np.isfinite(ratios).all() and np.abs(ratios).min() > 1e-6
                else math.inf
            )

        for variant in RIGHT:
            grid = np.log(np.geomspace(5e-3, 200, 54))
            best = grid[int(np.argmin([spread(point, variant) for point in grid]))]
            found = minimize_scalar(
                spread,
                bounds=(best - 0.25, best + 0.25),
                args=(variant,),
                method="bounded",
                options={"xatol": 1e-5},
            )
            temperature = math.exp(float(found.x))
            if found.fun <= self.limits.same_loss / 10 and 5e-3 < temperature < 20:
                expected = np.array(
                    [supcon(item, self.codes, temperature, variant) for item in self.fixtures]
                )
                return Match(variant, temperature, float(np.median(values / expected)))
        return None

    def known(self) -> Match:
        """The match, where the loss is SupCon; raises Unavailable for a loss of another family."""
        if self.match is None or self.match.variant not in RIGHT:
            raise Unavailable(
                f"{self.name} is not a multiple of SupCon at a declared temperature, so SupCon's "
                "values do not apply to it"
            )
        return self.match


def declared_temperatures(subject: Any) -> Iterator[float]:
    """Temperatures by the loss's attributes, then its defaults, then the settings."""
    found = [getattr(subject.loss, name, None) for name in conventions.TEMPERATURE]
    try:
        parameters = inspect.signature(subject.loss).parameters if callable(subject.loss) else {}
    except (TypeError, ValueError):
        parameters = {}
    found += [parameters[name].default for name in conventions.TEMPERATURE if name in parameters]
    found.append(subject.setting(*conventions.TEMPERATURE))
    for value in found:
        if (
            isinstance(value, (int, float, Tensor, np.floating))
            and not isinstance(value, bool)
            and float(value) > 0
        ):
            yield float(value)
