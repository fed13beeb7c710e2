"""Can these settings be met? If not, one error that names the classes, the numbers and the smallest
change that would do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from quadlib.sampler.draws import draws_per_class
from quadlib.sampler.fill import Layout, appearances, best_fill


class SamplerError(ValueError):
    """The batches asked for cannot be made; the message lists every reason and the smallest change
    that would do.
    """


@dataclass(frozen=True)
class Request:
    """What a batch must hold; see StratifiedBatchSampler."""

    batch_size: int
    min_classes: int
    min_per_class: int
    rare: str
    balance: str
    world_size: int = 1


def check_values(
    request: Request, rank: int, seed: int, n_samples: int, n_groups: int | None
) -> None:
    """Raises SamplerError listing every setting that is wrong in itself, whatever the labels."""
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
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least
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
    if problems:
        raise SamplerError("\n".join(problems))


def checked_layout(
    class_sizes: np.ndarray, class_names: tuple[str, ...], request: Request
) -> Layout:
    """A layout that meets every law as far as best_fill can, or SamplerError with all reasons and
    the smallest changes, each of them tried.
    """
    problems = _reasons(class_sizes, class_names, request)
    if not problems:
        layout = _layout(class_sizes, request)
        if layout is not None:
            return layout
        draws = draws_per_class(
            class_sizes, request.batch_size, request.min_per_class, request.rare, request.balance
        )
        n_batches = -(-int(draws.sum()) // request.batch_size)
        problems = [
            f"{int(draws.sum())} samples of {_named(class_sizes, class_names, draws > 0)} cannot "
            f"be cut into {n_batches} batches of at most {request.batch_size} with at least "
            f"min_per_class={request.min_per_class} of each class that is in a batch"
        ]
    changes = [text for text, _ in _changes(class_sizes, request)]
    advice = (
        f"\nAny one of these would do: {'; '.join(changes)}."
        if changes
        else ("\nNo single setting would do; add recordings of other classes.")
    )
    raise SamplerError("\n".join(problems) + advice)


def _layout(class_sizes: np.ndarray, request: Request) -> Layout | None:
    draws = draws_per_class(
        class_sizes, request.batch_size, request.min_per_class, request.rare, request.balance
    )
    n_batches = -(-int(draws.sum()) // request.batch_size)
    # where few batches and classes leave little choice, the order in which they are dealt decides:
    # small cases are cheap to try again
    tries = 32 if n_batches * len(draws) <= 20_000 else 1
    layout = best_fill(
        draws,
        n_batches,
        request.batch_size,
        request.min_per_class,
        np.random.default_rng([0]),
        exchange=request.balance == "natural",
        tries=tries,
    )
    met = (
        layout.faults[0] == 0
        and layout.cells.classes_present(n_batches).min() >= request.min_classes
        and layout.cells.sizes(n_batches).min() >= request.world_size
    )
    return layout if met else None


def _works(class_sizes: np.ndarray, class_names: tuple[str, ...], request: Request) -> bool:
    return (
        not _reasons(class_sizes, class_names, request)
        and _layout(class_sizes, request) is not None
    )


def _reasons(class_sizes: np.ndarray, names: tuple[str, ...], request: Request) -> list[str]:
    """Every law that the class sizes break, before any filling."""
    least, problems = request.min_per_class, []
    small = (class_sizes < least) & (class_sizes > 0)
    if request.rare == "error" and small.any():
        problems.append(f"{_named(class_sizes, names, small)} below min_per_class={least}")
    if request.min_classes * least > request.batch_size:
        problems.append(
            f"min_classes={request.min_classes} times min_per_class={least} is "
            f"{request.min_classes * least}, above batch_size={request.batch_size}"
        )
    draws = draws_per_class(class_sizes, request.batch_size, least, request.rare, request.balance)
    usable = draws >= least
    if usable.sum() < request.min_classes:
        problems.append(
            f"{int(usable.sum())} class(es) with at least {least} samples "
            f"({_named(class_sizes, names, class_sizes > 0)}), but "
            f"min_classes={request.min_classes}"
        )
    n_batches = -(-int(draws.sum()) // request.batch_size)
    room = int(appearances(draws, n_batches, least).sum())
    if not problems and room < request.min_classes * n_batches:
        largest = int(np.argmax(draws))
        others = _named(class_sizes, names, usable & (np.arange(len(names)) != largest))
        problems.append(
            f"{n_batches} batches need {request.min_classes} classes each, "
            f"{request.min_classes * n_batches} places in all, but {names[largest]} "
            f"({class_sizes[largest]}) fills one place a batch and {others} at {least} a place "
            f"make it {room} in all"
        )
    if n_batches and int(draws.sum()) // n_batches < request.world_size:
        problems.append(
            f"world_size={request.world_size} processes share batches of "
            f"{int(draws.sum()) // n_batches} samples; each needs at least one"
        )
    return problems


def _changes(class_sizes: np.ndarray, request: Request) -> Iterator[tuple[str, Request]]:
    """Changes of one setting, of each kind the smallest that works comes first and ends its
    kind.
    """
    names = tuple(str(i) for i in range(len(class_sizes)))
    total = int(class_sizes.sum())
    larger = [
        b
        for b in {
            *range(request.batch_size + 1, min(request.batch_size + 65, total + 1)),
            total,
            *(int(request.batch_size * 1.25**i) for i in range(2, 80)),
        }
        if request.batch_size < b <= total
    ]
    kinds = [
        [(f"batch_size={b}", replace(request, batch_size=b)) for b in sorted(larger)],
        [
            (f"min_per_class={p}", replace(request, min_per_class=p))
            for p in range(request.min_per_class - 1, 0, -1)
        ],
        [
            (f"min_classes={k}", replace(request, min_classes=k))
            for k in range(request.min_classes - 1, 0, -1)
        ],
        [
            (f"rare={rare!r}", replace(request, rare=rare))
            for rare in ("drop",)
            if request.rare == "error"
        ],
        [
            (f"rare={rare!r}", replace(request, rare=rare))
            for rare in ("oversample",)
            if request.rare == "error"
        ],
        [("balance='equal'", replace(request, balance="equal"))]
        if request.balance == "natural"
        else [],
        [
            (f"world_size={w}", replace(request, world_size=w))
            for w in range(request.world_size - 1, 0, -1)
        ],
    ]
    for kind in kinds:
        working = next(
            ((text, changed) for text, changed in kind if _works(class_sizes, names, changed)), None
        )
        if working is not None:
            yield working


def _named(
    class_sizes: np.ndarray, names: tuple[str, ...], chosen: np.ndarray, most: int = 6
) -> str:
    labels = np.flatnonzero(chosen)
    labels = labels[np.argsort(class_sizes[labels], kind="stable")]
    shown = ", ".join(f"{names[label]} ({class_sizes[label]})" for label in labels[:most])
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return (f"class {shown}" if len(labels) == 1 else f"classes {shown}") + more


def rare_notes(
    class_sizes: np.ndarray, names: tuple[str, ...], draws: np.ndarray, request: Request
) -> tuple[str, ...]:
    """What was done to the classes below min_per_class, one sentence each policy, for the plan."""
    small = (class_sizes < request.min_per_class) & (class_sizes > 0)
    if not small.any():
        return ()
    done = (
        "left out"
        if request.rare == "drop"
        else f"repeated to {request.min_per_class} inside one batch"
    )
    return (
        f"{_named(class_sizes, names, small)} below min_per_class={request.min_per_class}: {done}",
    )
