"""Shows, without any doctor, that each fault is in effect in its Subject, and that each healthy
pipeline learns.

Run: python tests/bench/held_out/second_selfcheck.py [name ...]
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import torch
from second_cases import CASES, Case
from torch import Tensor, nn
from watched import watched_step

from quadlib.diagnosis.subject import Subject


def losses(subject: Subject) -> np.ndarray:
    return np.array([record["loss"] for record in subject.history])


def accuracy(subject: Subject) -> float:
    assert subject.evaluate is not None
    return subject.evaluate()["knn_accuracy"]


def batches(subject: Subject) -> list[np.ndarray]:
    return [watched_step(subject, batch).labels for batch in subject.loader]


def images(subject: Subject) -> Tensor:
    return torch.stack(
        [
            torch.from_numpy(subject.loader.dataset.load(file))
            for file, _ in subject.loader.dataset.samples
        ]
    )


def embeddings(subject: Subject) -> Tensor:
    return watched_step(subject, next(iter(subject.loader))).rows


def spread(subject: Subject) -> float:
    """1 - mean cosine of a batch."""
    unit = nn.functional.normalize(embeddings(subject).flatten(1), dim=1)
    return 1 - float((unit @ unit.T).mean())


def moved(subject: Subject) -> dict[str, float]:
    """How far one step moves each parameter; the largest change of its entries."""
    before = {name: p.detach().clone() for name, p in subject.model.named_parameters()}
    assert subject.train_step is not None
    subject.train_step(next(iter(subject.loader)))
    return {
        name: float((p.detach() - before[name]).abs().max())
        for name, p in subject.model.named_parameters()
    }


def overlap(subject: Subject, column: str) -> int:
    parts = [
        set(subject.table.loc[subject.table["split"] == split, column])
        for split in ("train", "val")
    ]
    return len(parts[0] & parts[1])


def same_windows(subject: Subject) -> bool:
    corpus, split = (
        subject.loader.dataset.dataset.tensors[0].tolist(),
        subject.table["split"].to_numpy(),
    )
    train, val = (
        {tuple(corpus[row]) for row in np.flatnonzero(split == name)} for name in ("train", "val")
    )
    return len(train & val) > 10


def crossing(subject: Subject) -> bool:
    both = subject.table.query("split == 'train'").merge(
        subject.table.query("split == 'val'"), on="group"
    )
    return bool(((both["start_x"] < both["end_y"]) & (both["start_y"] < both["end_x"])).any())


def label_changes(subject: Subject) -> float:
    """How often a label differs from that of the file's folder."""
    dataset = subject.loader.dataset
    return float(
        np.mean([dataset.classes[code] != file.parent.name for file, code in dataset.samples])
    )


def dependence(subject: Subject, first: int, second: int) -> float:
    """The largest correlation between a column of one block and one of another."""
    blocks = [subject.loader.dataset.parts[place].numpy() for place in (first, second)]
    table = np.corrcoef(np.concatenate(blocks, axis=1).T)[
        : blocks[0].shape[1], blocks[0].shape[1] :
    ]
    return float(np.abs(table).max())


def linked(subject: Subject) -> float:
    """The largest correlation between a column and a class."""
    dataset = subject.loader.dataset
    values, classes = (
        torch.cat(dataset.parts, dim=1).numpy(),
        np.eye(2)[dataset.codes.numpy()][:, :1],
    )
    return float(np.abs(np.corrcoef(np.concatenate([classes, values], axis=1).T)[0, 1:]).max())


def changes_row(subject: Subject) -> set[int]:
    """Which samples' embeddings change as sample 3 of a batch does."""
    views, labels = next(iter(subject.loader))
    subject.model.eval()
    with torch.no_grad():
        first, other = subject.model(views), views.clone()
        other[3] = (other[3] + 7) % 64
        return set(
            torch.nonzero((subject.model(other) - first).abs().amax(dim=(1, 2)) > 1e-5)
            .flatten()
            .tolist()
        )


def group_ratio(subject: Subject) -> float:
    means = subject.table.groupby(subject.table["group"] % 2)["m05"].mean()
    return float(means[0] / means[1])


def mask_agrees(subject: Subject) -> bool:
    batch = next(iter(subject.loader))
    there = torch.stack([batch[name].abs().sum(1) > 0 for name in ("x1", "x2", "x3")], dim=1)
    return bool((there == batch["present"]).all())


def grad_of(subject: Subject, prefix: str) -> bool:
    gradients = watched_step(subject, next(iter(subject.loader))).gradients
    return any(name.startswith(prefix) for name in gradients)


def effect_of_block(subject: Subject, place: int) -> float:
    """1 - mean cosine between embeddings and those of the batch with one block permuted."""
    parts = list(next(iter(subject.loader))[0])
    with torch.no_grad():
        first = subject.model(parts)
        parts[place] = parts[place].roll(7, dims=0)
        return 1 - float((first * subject.model(parts)).sum(1).mean())


def parameters_of(subject: Subject) -> set[int]:
    return {id(p) for group in subject.optimizer.param_groups for p in group["params"]}


def bias_only(subject: Subject) -> bool:
    return spread(subject) < 0.01 and abs(losses(subject)[:10] - np.log(31)).max() < 1e-4


def depends_on_length(subject: Subject) -> bool:
    batch = next(iter(subject.loader))
    step = watched_step(subject, batch)
    values = [float(subject.loss(factor * step.rows, step.labels)) for factor in (1, 2)]
    return abs(values[1] - values[0]) > 0.1


def same_rows(weight: Tensor) -> bool:
    weight = weight.detach()
    return float(weight.std(dim=0).mean()) < 0.2 * float(weight.abs().mean())


def collapses(subject: Subject, others: int) -> bool:
    """Below the plateau in the first steps, on it for the rest."""
    values = losses(subject) - np.log(others)
    return values[:4].min() < -0.01 and abs(values[-30:]).max() < 0.01 and spread(subject) < 0.01


def recall_of_fresh(subject: Subject) -> float:
    for layer in subject.model.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    assert subject.evaluate is not None
    return subject.evaluate()["recall@1"]


def codes_differ(subject: Subject) -> bool:
    return subject.table.groupby("label")["target"].nunique().max() > 1


def worker_draws(subject: Subject) -> bool:
    """Two passes in order give the same picture of a row; the generator sits in the dataset."""

    def first() -> Tensor:
        loader = torch.utils.data.DataLoader(subject.loader.dataset, 32, num_workers=2)
        return next(iter(loader))[0]

    return torch.equal(first(), first()) and subject.loader.num_workers == 2


def seen(subject: Subject) -> int:
    indices = [index for _ in range(3) for batch in subject.loader.batch_sampler for index in batch]
    return len(set(indices))


def steps_taken(subject: Subject) -> int:
    return int(max(float(state["step"]) for state in subject.optimizer.state.values()))


def share_in(batch: np.ndarray) -> float:
    return float(np.mean([np.sum(batch == label) > 1 for label in batch]))


EFFECTS: dict[str, Any] = {
    "cut_files": lambda s: int((images(s).abs().sum(dim=(1, 2)) == 0).sum()) > 30,
    "notebook_folder": lambda s: (
        s.loader.dataset.classes[0].startswith(".") and min(s.loader.dataset.targets) == 1
    ),
    "crowd_labels": lambda s: 0.2 < label_changes(s) < 0.4,
    "index_for_label": lambda s: (
        all(len(set(batch)) == len(batch) for batch in batches(s)) and not losses(s).any()
    ),
    "class_runs": lambda s: (
        all(len(set(batch)) == 1 for batch in batches(s))
        and abs(losses(s)[-30:] - np.log(15)).max() < 0.05
    ),
    "six_of_eight": lambda s: np.mean([share_in(batch) for batch in batches(s)]) < 0.6,
    "half_once": lambda s: seen(s) <= 320,
    "no_shuffle": lambda s: (
        all((np.diff(batch) >= 0).all() for batch in batches(s))
        and len(set(np.concatenate(batches(s)))) == 8
    ),
    "last_of_one": lambda s: len(batches(s)[-1]) == 1 and losses(s)[20] == 0,
    "copied_rng": worker_draws,
    "zero_last": bias_only,
    "still_norm": lambda s: all(
        layer.num_batches_tracked == 0
        for layer in s.model.modules()
        if isinstance(layer, nn.BatchNorm2d)
    ),
    "constant_linear": lambda s: (
        same_rows(s.model.projector[0].weight) and losses(s).min() > np.log(31) - 0.1
    ),
    "dot_products": depends_on_length,
    "sign": lambda s: losses(s)[-1] < losses(s)[0] < 0,
    "rate_of_one": lambda s: collapses(s, 63),
    "cell_twice": lambda s: not parameters_of(s) & {id(p) for p in s.model.parameters()},
    "meets_itself": lambda s: recall_of_fresh(s) == 1.0,
    "stays_in_eval": lambda s: (
        s.evaluate(),
        s.train_step(next(iter(s.loader))),
        not s.model.training,
    )[2],
    "last_topic": lambda s: (
        set(s.table.query("split == 'train'")["label"]) == {"topic9"}
        and s.table["label"].nunique() == 10
    ),
    "mirror_site": lambda s: same_windows(s) and overlap(s, "group") == 0,
    "half_hops": crossing,
    "view_of_views": lambda s: not changes_row(s) <= {3},
    "norms_only": lambda s: (
        sum(p.numel() for p in s.model.parameters() if p.requires_grad)
        < 0.02 * sum(p.numel() for p in s.model.parameters())
    ),
    "over_views": lambda s: (
        torch.allclose(embeddings(s).norm(dim=1), torch.ones(1))
        and float(embeddings(s).norm(dim=2).std()) > 0.01
    ),
    "scale_ten": lambda s: s.loss.temperature == 10 and losses(s).min() > np.log(63) - 0.3,
    "half_exp": lambda s: not np.isfinite(losses(s)).any(),
    "integer_warm_up": lambda s: (
        not any(record["lr"] for record in s.history)
        and len(s.history) > 100
        and not any(moved(s).values())
    ),
    "micro_batches": lambda s: (
        {len(batch) for batch in batches(s)} == {4} and s.settings["batch_size"] == 32
    ),
    "dropout_in_test": lambda s: s.evaluate() != s.evaluate(),
    "exported_twice": lambda s: (
        overlap(s, "m00") == 0
        and len(torch.unique(torch.cat(s.loader.dataset.parts, 1), dim=0))
        < 0.85 * len(s.loader.dataset)
    ),
    "milligrams": lambda s: group_ratio(s) > 300,
    "failed_sensor": lambda s: s.table.isna().any().any() and np.isnan(losses(s)[-1]),
    "labels_put_back": lambda s: linked(s) < 0.3 and dependence(s, 0, 2) > 0.7,
    "codes_by_split": codes_differ,
    "late_campaign": lambda s: (
        set(s.table["label"]) - set(s.table.query("split == 'train'")["label"]) == {"type5"}
    ),
    "by_row": lambda s: overlap(s, "group") > 20,
    "name_order": lambda s: dependence(s, 0, 1) < 0.25 and dependence(s, 0, 2) > 0.7,
    "whole_numbers": lambda s: (
        not s.loader.dataset.parts[1].any() and s.table[s.table.columns[13]].std() > 0
    ),
    "flags_of_absence": lambda s: not mask_agrees(s),
    "two_encoders": lambda s: (
        grad_of(s, "encoders.2")
        and not any(v for k, v in moved(s).items() if k.startswith("encoders.2"))
    ),
    "cached_features": lambda s: not grad_of(s, "encoders.1") and grad_of(s, "encoders.2"),
    "loud_encoder": lambda s: effect_of_block(s, 2) > 5 * effect_of_block(s, 0),
    "steps_for_epochs": lambda s: s.history[3]["lr"] < 1e-6 < s.history[0]["lr"],
    "by_position": lambda s: (
        s.optimizer.param_groups[0]["weight_decay"] == 0.9 and losses(s)[-1] > np.log(31) - 0.1
    ),
    "module_prefix": lambda s: (
        not set(torch.load(s.checkpoint)["model"]) & set(s.model.state_dict())
    ),
    "weights_alone": lambda s: (
        "optimizer" not in torch.load(s.checkpoint) and steps_taken(s) < 0.5 * 12 * len(s.loader)
    ),
}


def learns(case: Case, subject: Subject) -> str:
    """Empty where it learns; what is wrong otherwise."""
    if subject.model is None or not subject.loader:
        if subject.history is not None:
            return (
                ""
                if losses(subject)[-5:].mean() < losses(subject)[0] - 0.5
                else "the loss did not fall"
            )
        labels = subject.labels if subject.labels is not None else subject.table["label"]
        return "" if len(set(labels)) > 1 else "one class"
    if subject.history is None and subject.train_step is not None:
        subject.train_step.__self__.fit()  # type: ignore[attr-defined]
    if case.name == "lab_all_train":
        return "" if losses(subject)[-1] < losses(subject)[0] - 0.3 else "the loss did not fall"
    return "" if accuracy(subject) > 0.85 else f"accuracy {accuracy(subject):.2f}"


def main(names: list[str], seed: int = 0) -> int:
    wrong = 0
    for case in CASES:
        if names and case.name not in names:
            continue
        begun = time.perf_counter()
        subject = case.build(seed)
        taken = time.perf_counter() - begun
        # an effect is a function of the subject alone: what it sees, an expert with the same
        # objects can see
        problem = (
            learns(case, subject)
            if case.row is None
            else ""
            if EFFECTS[case.name](subject)
            else "no effect"
        )
        wrong += bool(problem)
        print(
            f"{'wrong' if problem else 'ok':6}{case.row or '-':4}{case.name:26}{taken:5.1f} s  "
            f"{problem}",
            flush=True,
        )
    missing = {case.name for case in CASES if case.row} ^ set(EFFECTS)
    print(
        f"{wrong} wrong; without a check: {sorted(missing) or 'none'}; rows "
        f"{len({case.row for case in CASES if case.row})}"
    )
    return int(bool(wrong or missing))


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
