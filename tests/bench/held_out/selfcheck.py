"""Shows that each fault is in effect, and that each healthy pipeline learns: python
tests/bench/held_out/selfcheck.py [seed ...]
"""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import torch
from cases import CASES
from plain import DigitNet, SupCon
from sklearn.datasets import load_digits
from torch import Tensor
from watched import watched_step

from quadlib.diagnosis.subject import Subject


def first(subject: Subject) -> Any:
    return next(iter(subject.loader))


def embedded(subject: Subject) -> Tensor:
    return watched_step(subject, first(subject)).rows


def losses(subject: Subject) -> np.ndarray:
    return np.array([entry["loss"] for entry in subject.history])


def rates(subject: Subject) -> np.ndarray:
    return np.array([entry["learning_rate"] for entry in subject.history])


def weights(subject: Subject) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in subject.model.state_dict().items()}


def stepped(subject: Subject) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The model's state before and after one train_step."""
    assert subject.train_step is not None
    before = weights(subject)
    subject.train_step(first(subject))
    return before, weights(subject)


def moved(subject: Subject) -> set[str]:
    before, after = stepped(subject)
    return {
        name
        for name, _ in subject.model.named_parameters()
        if not torch.equal(before[name], after[name])
    }


def one_class(subject: Subject) -> float:
    return float(
        np.mean(
            [len(np.unique(watched_step(subject, batch).labels)) == 1 for batch in subject.loader]
        )
    )


def groups_shared(subject: Subject, column: str) -> bool:
    parts = [set(part) for _, part in subject.table.groupby("split")[column]]
    return bool(parts[0] & parts[1])


def agreement(subject: Subject) -> float:
    return float((subject.table["label"] == load_digits(return_X_y=True)[1]).mean())


def duplicates(subject: Subject) -> bool:
    signals = subject.loader.dataset.dataset.signals.numpy()
    content = subject.table.assign(content=[window.tobytes() for window in signals])
    train, val = (content[content["split"] == split] for split in ("train", "val"))
    within, across = (
        train["content"].duplicated().mean(),
        set(train["content"]) & set(val["content"]),
    )
    return 0.15 < within < 0.35 and not across and content["id"].is_unique


def overlap(subject: Subject) -> bool:
    pairs = subject.table[subject.table["split"] == "train"].merge(
        subject.table[subject.table["split"] == "val"], on="session"
    )
    return bool(((pairs["start_x"] < pairs["end_y"]) & (pairs["start_y"] < pairs["end_x"])).any())


def units(subject: Subject) -> bool:
    spread = subject.loader.dataset.dataset.signals.std(dim=(1, 2)).numpy()
    second = subject.table["session"].to_numpy() >= 12
    return 8 < spread[second].mean() / spread[~second].mean() < 12


def lone_share(subject: Subject) -> float:
    counts = [
        np.unique(watched_step(subject, batch).labels, return_counts=True)[1]
        for batch in subject.loader
    ]
    return float(sum((count == 1).sum() for count in counts) / sum(count.sum() for count in counts))


def same_each_epoch(subject: Subject) -> bool:
    epochs = [[row for batch in subject.batch_sampler for row in batch] for _ in range(2)]
    return (
        epochs[0] == epochs[1]
        and len(set(epochs[0])) < 0.35 * (subject.table["split"] == "train").sum()
    )


def fails_at_the_last(subject: Subject) -> bool:
    if len(subject.loader.dataset) % 32 != 1 or len(subject.history) != len(subject.loader) - 1:
        return False
    try:
        subject.model.train()(torch.randn(1, 2, 128))
    except ValueError:
        return True
    return False


def workers_repeat(subject: Subject) -> bool:
    """On blank images the first batches of the two workers show their draws: equal noise."""
    loader = copy.copy(subject.loader)
    loader.dataset.images = torch.zeros_like(loader.dataset.images)
    one, other = islice(iter(loader), 2)
    return torch.equal(one[0], other[0])


def views_mixed(subject: Subject) -> bool:
    views, labels = first(subject)
    model = subject.model.eval()
    model.train = lambda mode=True: model  # so that no batch norm mixes the rows in the step
    before = watched_step(subject, (views, labels)).rows
    views[0] += 1
    changed = (watched_step(subject, (views, labels)).rows - before).abs().sum(dim=(1, 2)) > 0
    return bool(changed[1:].any())


def head_shrinks(subject: Subject) -> bool:
    fresh, worn = DigitNet().head[0].weight.norm(), subject.model.head[0].weight.norm()  # type: ignore[operator, union-attr]
    return bool(worn < 0.2 * fresh) and abs(losses(subject)[-1] - math.log(127)) < 0.01


def encoder_norms(subject: Subject) -> bool:
    batch = first(subject)
    norms = [
        float(subject.model.features(modality, batch).detach().norm(dim=1).mean())
        for modality in ("tl", "tr", "bl", "br")
    ]
    subject.loss(subject.model(batch), batch["label"]).backward()
    return norms[0] > 50 * max(norms[1:]) and all(
        p.grad.abs().sum() > 0 for p in subject.model.encoders["br"].parameters()
    )


def no_key_matches(subject: Subject) -> bool:
    stored = torch.load(subject.checkpoint, weights_only=True)
    stored = stored.get("state_dict", stored)
    return not set(stored) & set(subject.model.state_dict()) and len(stored) == len(
        subject.model.state_dict()
    )


def reference_gap(subject: Subject) -> float:
    batch = first(subject)
    vectors = subject.model(batch).detach()
    return float(
        SupCon(0.1)(vectors, batch["label"]) - subject.loss(vectors, batch["label"])
    ) / math.log(39)


def whole_batch_gap(subject: Subject) -> float:
    assert subject.train_step is not None
    batch = first(subject)
    return float(
        subject.loss(subject.model(batch[0]), batch[1]).detach() - subject.train_step(batch)
    )


def own_neighbours(subject: Subject) -> bool:
    assert subject.evaluate is not None
    nearest = subject.evaluate()["nearest"]
    return bool((nearest == np.arange(len(nearest))).all())


def scores_by_training_mode(subject: Subject) -> bool:
    assert subject.evaluate is not None
    before = weights(subject)
    subject.evaluate()
    return subject.model.training and not torch.equal(
        before["encoder.1.running_mean"], weights(subject)["encoder.1.running_mean"]
    )


def left_in_eval(subject: Subject) -> bool:
    stepped(subject)
    return not subject.model.training and "knn_accuracy" in subject.history[21]


def norms_still(subject: Subject) -> bool:
    before, after = stepped(subject)
    return torch.equal(
        before["encoder.1.running_mean"], after["encoder.1.running_mean"]
    ) and not torch.equal(before["encoder.0.weight"], after["encoder.0.weight"])


def gradless(subject: Subject, part: str) -> bool:
    gradients = watched_step(subject, first(subject)).gradients
    return all(
        (name not in gradients) == name.startswith(part) and p.requires_grad
        for name, p in subject.model.named_parameters()
    )


def optimised(subject: Subject) -> set[int]:
    return {id(p) for group in subject.optimizer.param_groups for p in group["params"]}


def left_out(subject: Subject) -> set[str]:
    return {
        name.split(".")[-3 if name.startswith("encoders") else 0]
        for name, p in subject.model.named_parameters()
        if id(p) not in optimised(subject)
    }


def zero_windows(subject: Subject) -> float:
    return float((subject.loader.dataset.dataset.signals == 0).all(dim=2).all(dim=1).float().mean())


def unit_rows(vectors: Tensor, dim: int) -> bool:
    return bool(torch.allclose(vectors.norm(dim=dim), torch.ones(()), atol=1e-4))


IN_EFFECT: dict[str, Callable[[Subject], Any]] = {
    "signals-truncated-files": lambda s: 0.05 < zero_windows(s) < 0.25,
    "digits-checkpoint-folder": lambda s: (
        s.settings["class_names"][0] == ".ipynb_checkpoints"
        and len(s.settings["class_names"]) == 11
    ),
    "signals-joined-exports": duplicates,
    "signals-two-units": units,
    "signals-flat-windows": lambda s: (
        s.loader.dataset.dataset.signals.isnan().any() and np.isnan(losses(s)).any()
    ),
    "quadrants-pasted-column": lambda s: agreement(s) < 0.2,
    "quadrants-guessed-labels": lambda s: 0.6 < agreement(s) < 0.8,
    "signals-wrong-column": lambda s: len(np.unique(watched_step(s, first(s)).labels)) == 32,
    "signals-encoder-each-split": lambda s: (
        s.table.groupby("label")["target"].nunique() > 1
    ).any(),
    "digits-debugging-filter": lambda s: (
        len(np.unique(s.labels[s.splits["train"]])) == 1 and len(np.unique(s.labels)) == 10
    ),
    "signals-first-half": lambda s: (
        s.table.groupby("split")["label"].nunique().tolist() == [1, 1] and one_class(s) == 1
    ),
    "digits-range-of-nine": lambda s: (
        set(s.labels[s.splits["val"]]) - set(s.labels[s.splits["train"]]) == {9}
    ),
    "digits-repeated-then-split": lambda s: groups_shared(s, "id"),
    "quadrants-split-by-row": lambda s: groups_shared(s, "group"),
    "signals-overlapping-windows": overlap,
    "quadrants-sorted-in-sampler": lambda s: one_class(s) > 0.5,
    "signals-first-class-only": lambda s: one_class(s) == 1 and s.table["label"].nunique() == 8,
    "signals-four-a-batch": lambda s: lone_share(s) > 0.5,
    "quadrants-same-rows-every-epoch": same_each_epoch,
    "signals-rows-as-sampler": lambda s: (
        one_class(s) > 0.5 and list(s.loader.sampler) == sorted(s.loader.sampler)
    ),
    "signals-last-batch-of-one": fails_at_the_last,
    "digits-generator-in-dataset": workers_repeat,
    "quadrants-names-sorted-as-text": lambda s: (
        s.loader.dataset.names["br"] != s.loader.dataset.names["tl"]
    ),
    "quadrants-cast-to-zeros": lambda s: (
        first(s)["tr"].abs().sum() == 0 and first(s)["tl"].var() > 0
    ),
    "quadrants-hides-the-present": lambda s: (
        s.model.weights(torch.tensor([True, False])).tolist() == [0, 1]
    ),
    "digits-views-read-as-pairs": views_mixed,
    "digits-frozen-but-norms": lambda s: all(
        p.ndim == 1 for p in s.model.parameters() if p.requires_grad
    ),
    "quadrants-encoder-added-after": lambda s: (
        left_out(s) == {"br"} and not any("br" in name for name in moved(s))
    ),
    "signals-group-without-gru": lambda s: (
        left_out(s) == {"gru"} and not any("gru" in name for name in moved(s))
    ),
    "quadrants-cached-by-data": lambda s: gradless(s, "encoders.bl"),
    "signals-smoothed-in-numpy": lambda s: gradless(s, "conv"),
    "digits-zero-last-layer": lambda s: embedded(s).flatten(0, 1).std(dim=0).max() < 1e-6,
    "digits-norms-held-in-eval": norms_still,
    "quadrants-constant-init": lambda s: all(
        p.min() == p.max() for p in s.model.parameters() if p.ndim == 2
    ),
    "quadrants-one-without-norm": encoder_norms,
    "quadrants-without-normalising": lambda s: not unit_rows(embedded(s), 1),
    "digits-normalised-over-views": lambda s: (
        unit_rows(embedded(s), 1) and not unit_rows(embedded(s), 2)
    ),
    "quadrants-times-temperature": lambda s: (
        abs(reference_gap(s)) > 0.1 and losses(s).min() > math.log(39) - 0.2
    ),
    "digits-lost-minus": lambda s: losses(s).max() < 0 and losses(s)[-1] < losses(s)[0],
    "digits-half-similarity": lambda s: np.isnan(losses(s)).all(),
    "digits-scaled-rate": lambda s: (
        losses(s)[0] > 4.85
        and np.ptp(losses(s)[-19:]) < 0.01
        and abs(losses(s)[-1] - math.log(127)) < 0.01
    ),
    "digits-factor-of-zero": lambda s: rates(s).max() == 0 and not moved(s),
    "digits-stale-optimiser": lambda s: (
        not optimised(s) & {id(p) for p in s.model.parameters()} and not moved(s)
    ),
    "signals-step-not-called": lambda s: (
        not moved(s) and all(p.grad.abs().sum() > 0 for p in s.model.head.parameters())
    ),
    "digits-schedule-by-batch": lambda s: (
        rates(s)[:19].min() < 1e-6 and rates(s)[19:38].max() > 0.02
    ),
    "digits-heavy-decay": head_shrinks,
    "signals-loss-by-chunk": lambda s: whole_batch_gap(s) > 0.3,
    "digits-query-in-gallery": own_neighbours,
    "digits-scored-in-train-mode": scores_by_training_mode,
    "signals-train-mode-lost": left_in_eval,
    "digits-data-parallel-prefix": no_key_matches,
    "signals-wrapper-prefix": no_key_matches,
    "quadrants-resumed-without-optimiser": lambda s: (
        not s.optimizer.state and set(torch.load(s.checkpoint)) == {"epoch", "model"}
    ),
}


def learns(name: str, subject: Subject) -> Any:
    """Validation accuracy above 0.85 after at least three epochs; where there is nothing to train,
    the losses or the classes.
    """
    if subject.evaluate is None:
        return (
            losses_fall(subject.history)
            if subject.history is not None
            else len(
                np.unique(
                    np.asarray(subject.labels if subject.table is None else subject.table["label"])
                )
            )
            == 10
        )
    if subject.history is None and subject.train_step is not None:
        for _ in range(3):
            for batch in subject.loader:
                subject.train_step(batch)
                if name == "digits-warm-up":
                    assert subject.optimizer.param_groups[0]["lr"] > 0
    # tones under such noise cannot be told apart well: above the chance of 1/8 is all that can be
    # asked
    return subject.evaluate()["knn_accuracy"] > (0.2 if name == "signals-truly-hard" else 0.85)


def losses_fall(history: list[float]) -> bool:
    return history[-1] < 0.6 * history[0]


def main(seeds: list[int]) -> int:
    torch.set_num_threads(1)
    failed = 0
    for case in CASES:
        for seed in seeds:
            began = time.perf_counter()
            subject = case.build(seed)
            passed = bool(IN_EFFECT[case.name](subject) if case.row else learns(case.name, subject))
            failed += not passed
            seconds = time.perf_counter() - began
            print(
                f"{'ok  ' if passed else 'FAIL'} {case.row or '-':3} {case.name} seed {seed} "
                f"{seconds:.1f} s",
                flush=True,
            )
    faults = sum(case.row is not None for case in CASES)
    print(f"{faults} faults, {len(CASES) - faults} healthy, seeds {seeds}: {failed} not as claimed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main([int(seed) for seed in sys.argv[1:]] or [0]))
