"""What runs side by side are worth on recordings that they were not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stacked import Weights, forward
from together import Data
from torch import Tensor
from torch.nn.functional import one_hot

from quadlib.evaluation.crossed import crossed_interval, standard_error
from quadlib.evaluation.validation import skill


@torch.no_grad()
def judge(data: Data, weights: Weights, trust: Tensor) -> list[dict[str, Any]]:
    """For each run: macro-F1 of the fused embedding on both halves of the val sessions, of each
    view, and the views' skills.
    """
    seen, n_classes = int(data.val.max()) + 1, data.n_classes
    out = forward(weights, data.x[:, :, :seen], data.present[:, :seen], trust)
    spaces = [out.fused, *out.by_modality.unbind(1)]
    results: list[dict[str, Any]] = []
    for run, (known, asked) in enumerate(zip(data.train, data.val, strict=True)):
        codes, sessions = data.codes[run], data.sessions[run]
        half = torch.from_numpy(sessions[asked] % 2 == 0)
        votes = {}
        for place, space in enumerate(spaces):
            has = (
                torch.ones(seen, dtype=torch.bool)
                if place == 0
                else data.present[run, :, place - 1]
            )
            there, shown = known[has[known]], asked[has[asked]]
            votes[place] = shown, vote(space[run], there, shown, codes, 5, n_classes)
        shown, named = votes[0]
        groups = torch.from_numpy(sessions[asked])
        wide = vote(out.fused[run], known, asked, codes, 15, n_classes)
        results.append(
            {
                "val": f1(codes[shown], named),
                "val_error": error_of(codes[shown], named, groups),
                "halves": [f1(codes[shown][part], named[part]) for part in (half, ~half)],
                "answers": (codes[shown].numpy(), named.numpy(), groups.numpy(), half.numpy()),
                "errors": [
                    error_of(codes[shown][part], named[part], groups[part])
                    for part in (half, ~half)
                ],
                "wide": [f1(codes[shown][part], wide[part]) for part in (half, ~half)],
                "views": [f1(codes[votes[m][0]], votes[m][1]) for m in range(1, len(spaces))],
                "skills": [
                    skill(codes[votes[m][0]].numpy(), votes[m][1].numpy(), sessions[votes[m][0]])
                    for m in range(1, len(spaces))
                ],
            }
        )
    return results


def vote(
    space: Tensor, known: Tensor, asked: Tensor, codes: Tensor, neighbours: int, n_classes: int
) -> Tensor:
    """The class that most of the nearest known recordings have; of equal votes, the nearest's."""
    near = (space[asked] @ space[known].T).topk(neighbours, dim=1).indices
    votes = one_hot(codes[known][near], n_classes).float()
    nearer = 1 - torch.arange(neighbours) / (100 * neighbours)
    return (votes * nearer[:, None]).sum(1).argmax(1)


def f1(codes: Tensor, named: Tensor) -> float:
    """Macro-F1 over the classes that there are."""
    values = []
    for code in codes.unique():
        hits = ((codes == code) & (named == code)).sum()
        values.append(float(2 * hits / ((codes == code).sum() + (named == code).sum())))
    return float(np.mean(values))


def error_of(codes: Tensor, named: Tensor, sessions: Tensor) -> float:
    """Standard error of macro-F1 over sessions."""
    n_classes = int(codes.max()) + 1
    return standard_error(codes.numpy(), named.numpy(), sessions.numpy(), n_classes) or 0.0


def kept_epoch(scores: np.ndarray, errors: np.ndarray) -> int:
    """The last epoch that is within a standard error of the best one before it."""
    best = np.maximum.accumulate(scores)
    return int(np.flatnonzero(scores >= best - errors)[-1])


def within_an_error(log: list[dict[str, Any]], scores: np.ndarray, part: int) -> int:
    return kept_epoch(scores, np.array([line["errors"][part] for line in log]))


def within_half(log: list[dict[str, Any]], scores: np.ndarray, part: int) -> int:
    return kept_epoch(scores, np.array([line["errors"][part] / 2 for line in log]))


def within_difference(log: list[dict[str, Any]], scores: np.ndarray, part: int) -> int:
    """The last epoch that is within a standard error of its difference from the best before it."""
    kept = 0
    for epoch, line in enumerate(log):
        best = int(scores[: epoch + 1].argmax())
        codes, named, sessions, half = line["answers"]
        chosen = half if part == 0 else ~half
        pairs = [(codes[chosen], other[chosen]) for other in (log[best]["answers"][1], named)]
        score = crossed_interval(pairs, [sessions[chosen]], int(codes.max()) + 1, confidence=0.683)
        error = 0.0 if score.low is None else (score.high - score.low) / 2
        kept = epoch if scores[epoch] >= scores[best] - error else kept
    return kept


def smoothed(log: list[dict[str, Any]], scores: np.ndarray, part: int) -> int:
    """The epoch at the end of the three whose mean is highest."""
    means = np.convolve(scores, np.ones(3) / 3, mode="valid")
    return len(scores) - 1 - int(means[::-1].argmax())


RULES = {
    "1se": within_an_error,
    "half": within_half,
    "difference": within_difference,
    "smoothed": smoothed,
}


def summary(log: list[dict[str, Any]]) -> dict[str, Any]:
    """What the epochs of a run come to: `score` with the epoch chosen on the other half of val."""
    figures = {}
    for name, key in (("score", "halves"), ("score_15", "wide")):
        halves = np.array([line[key] for line in log])
        best = len(log) - 1 - halves[::-1].argmax(0)  # of equal epochs the later one
        figures[name] = float((halves[best[1], 0] + halves[best[0], 1]) / 2)
    halves = np.array([line["halves"] for line in log])
    for name, rule in RULES.items():
        kept = [rule(log, halves[:, part], part) for part in (0, 1)]
        figures[f"score_{name}"] = float((halves[kept[1], 0] + halves[kept[0], 1]) / 2)
    figures["val"] = log[-1]["val"]
    figures["last"] = float(np.mean(log[-1]["halves"]))
    figures["view"] = max(log[-1]["views"])
    return figures


@torch.no_grad()
def test_scores(data: Data, weights: Weights, trust: Tensor) -> list[dict[str, Any]]:
    """Macro-F1 of the fused embedding and of each view on the test split, and the weights of the
    fusion.
    """
    out = forward(weights, data.x, data.present, trust)
    results = []
    for run, (known, asked) in enumerate(zip(data.train, data.test, strict=True)):
        codes, present = data.codes[run], data.present[run]
        views = []
        for m, space in enumerate(out.by_modality[run]):
            there, shown = known[present[known, m]], asked[present[asked, m]]
            views.append(f1(codes[shown], vote(space, there, shown, codes, 5, data.n_classes)))
        named = vote(out.fused[run], known, asked, codes, 5, data.n_classes)
        read = out.weights[run, asked]
        results.append(
            {
                "fused": f1(codes[asked], named),
                "accuracy": float((codes[asked] == named).float().mean()),
                "views": views,
                "weights": [float(read[present[asked, m], m].mean()) for m in range(read.shape[1])],
            }
        )
    return results


@torch.no_grad()
def spaces(data: Data, weights: Weights, trust: Tensor, rows: Tensor) -> list[dict[str, float]]:
    """MAP@R of the fused embedding and from view to view, and accuracy with one view hidden."""
    out = forward(weights, data.x, data.present, trust)
    views = data.present.shape[2]
    hidden = []
    for m in range(views):
        present = data.present.clone()
        present[..., m] = False
        present = torch.where(present.any(-1, keepdim=True), present, data.present)
        hidden.append(forward(weights, data.x, present, trust).fused)
    results = []
    for run, (known, asked) in enumerate(zip(data.train, rows, strict=True)):
        codes = data.codes[run]

        by_view = out.by_modality[run]
        pairs = [
            map_at_r(by_view[a], by_view[b], codes, known, asked)
            for a in range(views)
            for b in range(views)
            if a != b
        ]
        named = [
            float(
                (vote(space[run], known, asked, codes, 5, int(codes.max()) + 1) == codes[asked])
                .float()
                .mean()
            )
            for space in hidden
        ]
        results.append(
            {
                "map": map_at_r(out.fused[run], out.fused[run], codes, known, asked),
                "cross_map": float(np.mean(pairs)),
                "hidden": float(np.mean(named)),
            }
        )
    return results


def map_at_r(
    queries: Tensor, gallery: Tensor, codes: Tensor, known: Tensor, asked: Tensor
) -> float:
    """MAP@R of the rows asked in one space among the known rows in another."""
    same = codes[known] == codes[asked][:, None]
    wanted = same.sum(1)
    order = (queries[asked] @ gallery[known].T).argsort(1, descending=True)
    rank = torch.arange(1, len(known) + 1)
    hits = same.gather(1, order) * (rank <= wanted[:, None]).float()
    return float(((hits.cumsum(1) / rank * hits).sum(1) / wanted.clamp(min=1)).mean())
