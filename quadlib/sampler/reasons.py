"""What makes a request impossible before any filling, in words; each reason is a proof."""

from __future__ import annotations

import numpy as np

from quadlib.sampler.demand import Request


def reasons(class_sizes: np.ndarray, names: tuple[str, ...], request: Request) -> list[str]:
    """Every law that the class sizes break."""
    least, problems = request.min_per_class, []
    small = (class_sizes < least) & (class_sizes > 0)
    if request.rare == "error" and small.any():
        problems.append(f"{named(class_sizes, names, small)} below min_per_class={least}")
    if request.min_classes * least > request.batch_size:
        problems.append(
            f"min_classes={request.min_classes} times min_per_class={least} is "
            f"{request.min_classes * least}, above batch_size={request.batch_size}"
        )
    demand = request.demand(class_sizes)
    usable = demand.draws >= least
    if usable.sum() < request.min_classes:
        problems.append(
            f"{int(usable.sum())} class(es) with at least {least} samples "
            f"({named(class_sizes, names, class_sizes > 0)}), but "
            f"min_classes={request.min_classes}"
        )
    n_batches = demand.n_batches
    places = int(demand.appearances.sum())
    if not problems and places < request.min_classes * n_batches:
        largest = int(np.argmax(demand.draws))
        others = named(class_sizes, names, usable & (np.arange(len(names)) != largest))
        problems.append(
            f"{n_batches} batches need {request.min_classes} classes each, "
            f"{request.min_classes * n_batches} places in all, but {names[largest]} "
            f"({class_sizes[largest]}) fills one place a batch and {others} at {least} a place "
            f"make it {places} in all"
        )
    crowded = usable & (demand.fewest_blocks > demand.appearances)
    if not problems and crowded.any():
        problems.append(
            f"{named(class_sizes, names, crowded)} must be in more than the {n_batches} batches "
            f"that there are: beside {request.min_classes - 1} other class(es) at {least} each, a "
            f"batch of {request.batch_size} leaves too little room"
        )
    fitting = n_batches * (request.batch_size // least)
    if not problems and demand.fewest_blocks.sum() > fitting:
        problems.append(
            f"{n_batches} batches of {request.batch_size} have room for {fitting} times "
            f"min_per_class={least}, but {named(class_sizes, names, usable)} must be in at least "
            f"{int(demand.fewest_blocks.sum())} places in all"
        )
    if n_batches and demand.n_draws // n_batches < request.world_size:
        problems.append(
            f"world_size={request.world_size} processes share batches of "
            f"{demand.n_draws // n_batches} samples; each needs at least one"
        )
    return problems


def named(
    class_sizes: np.ndarray, names: tuple[str, ...], chosen: np.ndarray, most: int = 6
) -> str:
    """The chosen classes with their sizes, the smallest first."""
    labels = np.flatnonzero(chosen)
    labels = labels[np.argsort(class_sizes[labels], kind="stable")]
    shown = ", ".join(f"{names[label]} ({class_sizes[label]})" for label in labels[:most])
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return (f"class {shown}" if len(labels) == 1 else f"classes {shown}") + more


def rare_notes(
    class_sizes: np.ndarray, names: tuple[str, ...], least: int, rare: str
) -> tuple[str, ...]:
    """What was done to the classes below `least` samples, for the plan."""
    small = (class_sizes < least) & (class_sizes > 0)
    if not small.any():
        return ()
    done = "left out" if rare == "drop" else f"repeated to {least} inside one batch"
    return (f"{named(class_sizes, names, small)} below min_per_class={least}: {done}",)
