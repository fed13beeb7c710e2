"""What the samplers of other packages promise, tried on ours and, where it is installed, on theirs.

The promises are restated here in our words: MPerClassSampler and HierarchicalSampler of
pytorch-metric-learning, the balance samplers of Open Metric Learning, GroupByLabelBatchSampler of
sentence-transformers.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from quadlib.sampler import SamplerError, StratifiedBatchSampler

N_INPUTS = 300


def inputs(seed: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """Labels, classes per batch and samples per class: from two equal classes to many unequal
    ones, single samples and labels out of order included.
    """
    rng = np.random.default_rng(seed)
    for number in range(N_INPUTS):
        n_classes = int(rng.choice([2, 3, 5, 12, 40]))
        sizes = rng.integers(1, int(rng.choice([2, 6, 30])) + 1, n_classes)
        if number % 4 == 0:
            sizes[:] = sizes.max()
        names = rng.choice(10_000, n_classes, replace=False)
        labels = rng.permutation(np.repeat(names, sizes))
        yield labels, int(rng.integers(2, 9)), int(rng.integers(2, 6))


def composition(batch: list[int], labels: np.ndarray) -> Counter[int]:
    return Counter(labels[batch].tolist())


def test_exactly_m_per_class_as_mperclass_and_balance_samplers_promise() -> None:
    """P classes with K samples in every batch, all samples of a class that has K distinct, all
    classes in an epoch that is long enough; refused where there are fewer than P classes.
    """
    met = 0
    for labels, per_batch, each in inputs(0):
        few = len(np.unique(labels)) < per_batch
        try:
            sampler = StratifiedBatchSampler(
                labels,
                layout="pk",
                classes_per_batch=per_batch,
                samples_per_class=each,
                rare="oversample",
            )
        except SamplerError as error:
            assert few and "class(es) with enough samples" in str(error)
            continue
        assert not few
        met += 1
        sizes = Counter(labels.tolist())
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert {label for batch in batches for label in labels[batch]} == set(sizes)
        for batch in batches:
            counts = composition(batch, labels)
            assert len(counts) == per_batch and set(counts.values()) == {each}
            for label in counts:
                distinct = {i for i in batch if labels[i] == label}
                assert len(distinct) == min(each, sizes[label])
    assert met > N_INPUTS // 2


def test_no_sample_twice_as_the_group_by_label_sampler_promises() -> None:
    """At most batch_size samples, two labels or more, two or more of each, none drawn twice; there
    labels with one sample are left out, as by rare="drop" here.
    """
    met = 0
    for labels, per_batch, each in inputs(1):
        try:
            sampler = StratifiedBatchSampler(labels, per_batch * each, rare="drop")
        except SamplerError:
            continue
        met += 1
        sizes = Counter(labels.tolist())
        drawn = [index for batch in sampler for index in batch]
        sampler.set_epoch(0)
        for batch in sampler:
            counts = composition(batch, labels)
            assert len(batch) <= per_batch * each
            assert len(counts) >= 2 and min(counts.values()) >= 2
        # theirs drops the odd sample of a class and incomplete batches; ours draws every sample
        assert sorted(drawn) == [i for i in range(len(labels)) if sizes[labels[i]] >= 2]
    assert met > N_INPUTS // 2


def test_pytorch_metric_learnings_own_sampler_and_how_it_differs() -> None:
    """Theirs promises K in a row of each class; it sees a part of the samples, repeats them in a
    batch where a class is smaller than K, and its last batch may be short.
    """
    samplers = pytest.importorskip("pytorch_metric_learning.samplers")
    differences: Counter[str] = Counter()
    compared = 0
    for labels, per_batch, each in inputs(2):
        size = per_batch * each
        ours: StratifiedBatchSampler | None
        try:
            theirs = samplers.MPerClassSampler(
                labels, m=each, batch_size=size, length_before_new_iter=max(len(labels), size)
            )
        except AssertionError:
            with pytest.raises(SamplerError):
                StratifiedBatchSampler(
                    labels, layout="pk", classes_per_batch=per_batch, samples_per_class=each
                )
            continue
        ours = StratifiedBatchSampler(
            labels,
            layout="pk",
            classes_per_batch=per_batch,
            samples_per_class=each,
            rare="oversample",
        )
        compared += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            indices = [int(index) for index in theirs]
        their_batches = [indices[i : i + size] for i in range(0, len(indices), size)]
        for batches, is_ours in ((list(ours), True), (their_batches, False)):
            for batch in batches:
                counts = composition(batch, labels)
                assert len(counts) == per_batch and set(counts.values()) == {each}
            seen = {i for batch in batches for i in batch}
            if len(seen) < len(labels):
                assert not is_ours
                differences["samples that an epoch does not show"] += 1
    assert compared > N_INPUTS // 3
    assert differences["samples that an epoch does not show"] > 0


def test_classes_within_a_superclass_can_be_had_by_sampling_each_superclass() -> None:
    """HierarchicalSampler fills a batch from few superclasses. Ours has no superclasses; one
    sampler for each gives batches of one superclass with the same counts.
    """
    rng = np.random.default_rng(3)
    for _ in range(50):
        n_classes, each = int(rng.integers(2, 6)), int(rng.integers(2, 5))
        labels = rng.permutation(np.repeat(np.arange(n_classes), rng.integers(each, 20, n_classes)))
        sampler = StratifiedBatchSampler(
            labels, layout="pk", classes_per_batch=n_classes, samples_per_class=each
        )
        for batch in sampler:
            assert composition(batch, labels) == Counter(dict.fromkeys(range(n_classes), each))
