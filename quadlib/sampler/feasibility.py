"""Can these settings be met? If not, one error that names the classes and the numbers, and says
whether it is proved.
"""

from __future__ import annotations

import numpy as np

from quadlib.sampler.advice import advised_changes
from quadlib.sampler.cells import Layout
from quadlib.sampler.demand import Demand, Request, SamplerError
from quadlib.sampler.layout import find_layout
from quadlib.sampler.reasons import named, reasons


def checked_layout(
    class_sizes: np.ndarray, class_names: tuple[str, ...], request: Request
) -> Layout:
    """A layout that meets every law.

    Raises:
        SamplerError: with all reasons and the smallest changes, each of them tried, where there is
            none or none was found; the message says which.
    """
    problems = reasons(class_sizes, class_names, request)
    if not problems:
        layout, proved = find_layout(class_sizes, request)
        if layout is not None:
            return layout
        problems = [_no_layout(request.demand(class_sizes), class_sizes, class_names, proved)]
    changes = advised_changes(class_sizes, request)
    advice = (
        f"Any one of these would do: {'; '.join(changes)}."
        if changes
        else "No single setting that was tried would do; add samples of other classes."
    )
    raise SamplerError("\n".join([*problems, advice]))


def _no_layout(
    demand: Demand, class_sizes: np.ndarray, class_names: tuple[str, ...], proved: bool
) -> str:
    text = (
        f"{demand.n_draws} samples of {named(class_sizes, class_names, demand.draws > 0)} cannot "
        f"be cut into {demand.n_batches} batches of at most {demand.batch_size} with at least "
        f"min_classes={demand.min_classes} classes and min_per_class={demand.min_per_class} of "
        "each class that is in a batch"
    )
    if proved:
        return f"{text} (proved: an exact program has no solution)"
    return (
        f"{text}, as far as was searched (this is no proof: the request is too large to be decided "
        "exactly)"
    )
