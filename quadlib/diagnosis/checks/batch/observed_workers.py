"""What the worker processes of a watched stream give."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import IterableDataset

from quadlib.diagnosis.checks.batch.watched_contracts import B22
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.dataset import training_loader
from quadlib.diagnosis.evidence.observed.passes import batches
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable


@check(B22, "the workers of a watched stream share its rows out", phase="observed")
def same_rows_from_each_worker(x: Examination) -> Iterator[Finding]:
    loader = training_loader(x.record)
    workers = getattr(loader, "num_workers", 0)
    if workers < 2 or not isinstance(loader.dataset, IterableDataset):
        raise Unavailable("no stream is read by several worker processes")
    digests = [
        fetch.digest
        for fetch in batches(x.record)
        if fetch.loader >= 0 and x.record.loaders[fetch.loader] is loader
    ]
    if len(digests) <= workers:
        raise Unavailable(f"{len(digests)} batches of {workers} workers were seen")
    # the workers give their batches in turn
    same = [digest == digests[k - k % workers] for k, digest in enumerate(digests) if k % workers]
    if not all(same) or digests[0] == digests[workers]:
        return
    yield B22.broken(
        "error",
        f"each of {workers} workers gives the same batches",
        f"the training loader, num_workers={workers}, {type(loader.dataset).__name__}",
        (
            f"{len(digests)} batches were watched, {len(set(digests))} different ones: "
            f"{workers} in a row are equal, value for value",
            "of a stream, every worker process iterates a copy of the whole dataset",
        ),
        ruled_out=("a stream that repeats itself: the next round of batches is another",),
        explains=(f"an epoch that is {workers} times as long, and steps that repeat each other",),
    )
