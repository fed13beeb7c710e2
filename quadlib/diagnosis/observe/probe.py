"""Training steps observed from inside: loss, embeddings, gradients, updates, where the batch
variance dies.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from quadlib.diagnosis.observe.variation import cosine_spread
from quadlib.diagnosis.subject import Subject, Unavailable


@dataclass
class Probe:
    """One training step as it was seen.

    embeddings: (N, D), several views stacked view by view, as the loss got them. gradients: norm by
    parameter name, None where no gradient arrived. updates and weights: norm of the step's change
    and of the weights before it. variances: mean variance over the batch of each leaf module's
    output, in the order of the forward pass. modes: training flag of each module during the forward
    pass. loss_rows: samples given to the loss in each of its calls, where the loss is a module.
    """

    loss: float
    embeddings: Tensor
    labels: np.ndarray
    gradients: dict[str, float | None]
    updates: dict[str, float]
    weights: dict[str, float]
    variances: list[tuple[str, float]]
    modes: dict[str, bool]
    loss_rows: tuple[int, ...] = ()

    @property
    def spread(self) -> float:
        """Standard deviation of the off-diagonal cosines: about 0 when all embeddings are equal."""
        return cosine_spread(self.embeddings)


@dataclass
class Trajectory:
    """The first steps: the first one in full, of the others the loss, the spread of embeddings and
    the size of the update.
    """

    first: Probe
    losses: list[float] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)
    update_ratios: list[float] = field(default_factory=list)
    weight_norms: list[float] = field(default_factory=list)


def take_steps(
    subject: Subject, batches: list[Any], *, most_steps: int, most_seconds: float
) -> Trajectory:
    """Takes up to `most_steps` training steps over the batches in turn; the caller puts the subject
    back afterwards.

    Uses the subject's own train_step where it has one, else zero_grad, embed, loss, backward, step.
    Raises Unavailable.
    """
    model = subject.model
    if not isinstance(model, nn.Module):
        raise Unavailable("no model")
    deadline = time.monotonic() + most_seconds
    if subject.train_step is None:
        model.train()
    first = observed_step(subject, batches[0])
    norm = float(np.sqrt(sum(value**2 for value in first.weights.values())))
    change = float(np.sqrt(sum(value**2 for value in first.updates.values())))
    trajectory = Trajectory(
        first, [first.loss], [first.spread], [change / max(norm, 1e-12)], [norm]
    )
    for batch in itertools.islice(itertools.cycle(batches), 1, most_steps):
        if time.monotonic() > deadline:
            break
        before = [p.detach().clone() for p in model.parameters()]
        caught: list[Tensor] = []
        loss = _step(subject, batch, caught)
        trajectory.losses.append(loss)
        trajectory.spreads.append(cosine_spread(caught[-1]) if caught else float("nan"))
        with torch.no_grad():
            old = _norm(before)
            trajectory.update_ratios.append(
                _norm([p - b for p, b in zip(model.parameters(), before, strict=True)])
                / max(old, 1e-12)
            )
            trajectory.weight_norms.append(_norm(list(model.parameters())))
    return trajectory


def observed_step(subject: Subject, batch: Any) -> Probe:
    """One training step with hooks on every leaf module; the hooks are gone afterwards."""
    model = subject.model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    variances: list[tuple[str, float]] = []
    modes: dict[str, bool] = {}

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            # of the last pass: before its own step, a subject is embedded once more
            modes[name] = module.training
            if (
                isinstance(output, Tensor)
                and output.ndim >= 2
                and len(output) > 1
                and output.is_floating_point()
            ):
                variances.append((name, float(output.detach().float().var(dim=0).mean())))

        return look

    leaves = [
        (name, module) for name, module in model.named_modules() if not list(module.children())
    ]
    handles: list[Any] = [module.register_forward_hook(hook(name)) for name, module in leaves]
    given: list[int] = []
    if isinstance(subject.loss, nn.Module):
        handles.append(
            subject.loss.register_forward_pre_hook(
                lambda module, inputs: given.extend(
                    len(value)
                    for value in inputs[:1]
                    if isinstance(value, Tensor) and value.ndim > 1
                )
            )
        )
    caught: list[Tensor] = []
    gradients: dict[str, float | None] = {}
    try:
        loss = _step(subject, batch, caught, gradients)
    finally:
        for handle in handles:
            handle.remove()
    updates = {
        name: float((p.detach() - before[name]).norm()) for name, p in model.named_parameters()
    }
    return Probe(
        loss,
        caught[-1],
        subject.batch_labels(batch),
        gradients,
        updates,
        {name: float(value.norm()) for name, value in before.items()},
        variances,
        modes,
        tuple(given),
    )


def _step(
    subject: Subject,
    batch: Any,
    caught: list[Tensor],
    gradients: dict[str, float | None] | None = None,
) -> float:
    model, optimiser = subject.model, subject.optimizer
    if subject.train_step is not None:
        # the user's step keeps its embeddings to itself: embed once more before it, from the same
        # random state
        state = torch.get_rng_state()
        with torch.no_grad():
            caught.append(_stacked(subject.embed_batch(batch)))
        torch.set_rng_state(state)
        if gradients is None:
            return step_loss(subject, batch)
        return _watched_train_step(subject, batch, gradients)
    for parameter in model.parameters():
        parameter.grad = None
    embeddings = subject.embed_batch(batch)
    caught.append(_stacked(embeddings.detach()))
    loss = subject.loss_of(batch, embeddings)
    if loss.requires_grad:
        loss.backward()
    if gradients is not None:
        gradients.update(
            {
                name: None if p.grad is None else float(p.grad.norm())
                for name, p in model.named_parameters()
            }
        )
    if optimiser is not None:
        optimiser.step()
    return float(loss.detach())


def _watched_train_step(subject: Subject, batch: Any, gradients: dict[str, float | None]) -> float:
    """A user's own step may clear its gradients at the end: they are noted as they are
    accumulated, without the factor of a gradient scaler.
    """
    named = dict(subject.model.named_parameters())
    gradients.update(dict.fromkeys(named))
    scale = subject.scaler.get_scale() if hasattr(subject.scaler, "get_scale") else 1.0
    handles = [
        p.register_post_accumulate_grad_hook(
            lambda p, name=name: gradients.__setitem__(name, float(p.grad.norm()) / scale)
        )
        for name, p in named.items()
        if p.requires_grad
    ]
    try:
        return step_loss(subject, batch)
    finally:
        for handle in handles:
            handle.remove()


def step_loss(subject: Subject, batch: Any) -> float:
    """The loss that the subject's own step gives; raises Unavailable where it gives none."""
    value = subject.train_step(batch) if subject.train_step is not None else None
    value = value.detach() if isinstance(value, Tensor) else value
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:
        raise Unavailable(
            f"train_step gives {type(value).__name__}, not the loss as a number"
        ) from error


def _stacked(embeddings: Tensor) -> Tensor:
    return embeddings if embeddings.ndim == 2 else embeddings.transpose(0, 1).flatten(0, 1)


def _norm(tensors: list[Tensor]) -> float:
    return float(get_total_norm([tensor.detach() for tensor in tensors]))
