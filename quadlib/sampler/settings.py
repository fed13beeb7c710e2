"""The arguments of StratifiedBatchSampler, checked together: one error lists all that is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from quadlib.sampler.demand import Request, SamplerError
from quadlib.sampler.pk import PkRequest
from quadlib.sampler.recipes import Pk, Proportional, Recipe

DEFAULT_BATCH_SIZE = 32


def recipe_for(
    codes: np.ndarray,
    class_names: tuple[str, ...],
    groups: np.ndarray | None,
    *,
    seed: int,
    rank: int,
    unlabelled: str,
    layout: str,
    **settings: Any,
) -> Recipe:
    """The batches that the settings ask for.

    Raises:
        SamplerError: Settings that are wrong, contradict each other, or cannot be met.
    """
    pk = {name: settings.pop(name) for name in ("classes_per_batch", "samples_per_class")}
    drop_last = settings.pop("drop_last")
    problems = _layout_problems(layout, pk, drop_last, settings)
    if settings["batch_size"] is None:
        by_pk = layout == "pk" and not problems
        settings["batch_size"] = int(np.prod(list(pk.values()))) if by_pk else DEFAULT_BATCH_SIZE
    request = Request(**settings)
    n_groups = None if groups is None else len(groups)
    problems += _value_problems(request, rank, seed, len(codes), n_groups)
    if unlabelled not in ("error", "drop"):
        problems.append(f"unlabelled is {unlabelled!r}; one of 'error', 'drop' was expected")
    n_unlabelled = int((codes < 0).sum())
    if n_unlabelled and unlabelled == "error":
        problems.append(
            f"{n_unlabelled} of {len(codes)} samples are unlabelled (None, NaN or -1), and "
            "unlabelled is no class; unlabelled='drop' leaves them out of every batch"
        )
    if problems:
        raise SamplerError("\n".join(problems))
    class_sizes = np.bincount(codes[codes >= 0], minlength=len(class_names))
    if layout == "proportional":
        return Proportional(class_sizes, class_names, request)
    return Pk(
        class_sizes,
        class_names,
        PkRequest(
            int(pk["classes_per_batch"]),
            int(pk["samples_per_class"]),
            drop_last,
            request.rare,
            request.balance,
        ),
    )


def _is_whole(value: Any, least: int) -> bool:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and bool(value >= least)


def _layout_problems(
    layout: str, pk: dict[str, Any], drop_last: bool, settings: dict[str, Any]
) -> list[str]:
    """What is wrong in the arguments that belong to one layout."""
    if layout == "proportional":
        extra = [f"{name}={value!r}" for name, value in pk.items() if value is not None]
        extra += ["drop_last=True"] if drop_last else []
        return [f"{', '.join(extra)} without layout='pk', which alone reads it"] if extra else []
    if layout != "pk":
        return [f"layout is {layout!r}; one of 'proportional', 'pk' was expected"]
    problems = [
        f"{name} is {value!r}; layout='pk' needs a whole number of at least 1"
        for name, value in pk.items()
        if not _is_whole(value, 1)
    ]
    if problems:
        return problems
    for name, least in (
        ("classes_per_batch", "min_classes"),
        ("samples_per_class", "min_per_class"),
    ):
        if _is_whole(settings[least], 1) and pk[name] < settings[least]:
            problems.append(
                f"{name}={pk[name]} is below {least}={settings[least]}; {least}={pk[name]} would do"
            )
    size, n_samples = settings["batch_size"], int(np.prod(list(pk.values())))
    if size is not None and size != n_samples:
        problems.append(
            f"batch_size={size!r} with layout='pk', but {' x '.join(map(str, pk.values()))} "
            f"samples are {n_samples}; leave batch_size out"
        )
    return problems


def _value_problems(
    request: Request, rank: int, seed: int, n_samples: int, n_groups: int | None
) -> list[str]:
    """Every setting that is wrong in itself, whatever the labels."""
    problems = [
        f"{name} is {value!r}; a whole number of at least {least} was expected"
        for name, value, least in (
            ("batch_size", request.batch_size, 1),
            ("min_classes", request.min_classes, 1),
            ("min_per_class", request.min_per_class, 1),
            ("world_size", request.world_size, 1),
            ("rank", rank, 0),
            ("seed", seed, 0),
        )
        if not _is_whole(value, least)
    ]
    problems += [
        f"{name} is {value!r}; one of {', '.join(map(repr, known))} was expected"
        for name, value, known in (
            ("rare", request.rare, ("error", "oversample", "drop")),
            ("balance", request.balance, ("natural", "equal")),
        )
        if value not in known
    ]
    if not problems and rank >= request.world_size:
        problems.append(
            f"rank is {rank} with world_size {request.world_size}; ranks count from 0 to "
            "world_size - 1"
        )
    if n_samples == 0:
        problems.append("there are no labels; check that the training split is not empty")
    if n_groups is not None and n_groups != n_samples:
        problems.append(
            f"groups has {n_groups} entries for {n_samples} labels; one session per sample was "
            "expected"
        )
    return problems
