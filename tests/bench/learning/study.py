"""Which defaults learn best, judged on validation recordings alone.

`python tests/bench/learning/study.py --seeds 5 --results outputs/study.jsonl` trains every variant
on every stand-in, thinned to 500 recordings, and prints the paired difference to the first one. The
test split is never opened: the made tables have none here, and are drawn from other
seeds than those of the table of scores. What is there already in the results is not trained again.

The epoch is chosen on half of the validation sessions and scored on the other half, and the other
way round, so that no score is the best of many.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import made
import measured
import numpy as np
import torch
from sklearn.preprocessing import QuantileTransformer
from stacked import Weights, ends, forward, linear, stack, supcon
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from quadlib.config import TrainSettings
from quadlib.data.normalise import Normaliser
from quadlib.data.open import divided
from quadlib.data.samples import SampleTable
from quadlib.data.sources import mfeat
from quadlib.evaluation.crossed import crossed_interval
from quadlib.evaluation.validation import skill
from quadlib.model.quad import QuadModel
from quadlib.sampler import StratifiedBatchSampler
from quadlib.training.collapse import PLATEAU_PROGRESS
from quadlib.training.objective import PROGRESS_MEMORY
from quadlib.training.optimiser import learning_rate_factor
from quadlib.training.trust import trust_of

ROWS, MADE_SEED = 500, 1000
MADE = ("one_good", "all_good", "session_shift", "half_missing", "many_sessions", "cycles")
MEASURED = ("digits", "htad", "mfeat", "mfeat_1_noise", "mfeat_2_noise", "mfeat_3_noise")
JUDGED_EVERY = 2  # epochs
RUNNING = 0.99  # of the running mean of the weights, a step
TAIL = 6  # epochs at the end whose weights are averaged


@dataclass(frozen=True)
class Variant:
    """Settings of a run, by their names in TrainSettings where they have one."""

    fused_weight: float = 1.0
    within_weight: float = 0.5
    cross_weight: float = 1.5
    cross_gate: float = 0.05
    cross_entropy_weight: float = 0.0
    temperature: float = 0.1
    same_session: str = "positive"
    dropout: float = 0.1
    modality_dropout: float = 0.0
    fusion_trust: bool = True
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    epochs: int = 24
    noise: float = 0.1  # augmentation: standard deviation of what is added to a feature
    masked: float = 0.0  # augmentation: share of features set to their mean
    clip: float = math.inf  # normalised features beyond it are brought back to it
    quantiles: bool = False  # features by their rank, normally distributed

    def label(self) -> str:
        changed = [
            f"{item.name}={getattr(self, item.name)}"
            for item in fields(self)
            if getattr(self, item.name) != item.default
        ]
        return " ".join(changed) or "defaults"


@dataclass
class Data:
    """The recordings of R runs: x (R, M, n, d), train and val rows (R, ...), batches by epoch."""

    x: Tensor
    present: Tensor
    codes: Tensor
    sessions: np.ndarray
    train: Tensor
    val: Tensor
    samplers: list[StratifiedBatchSampler]
    tables: list[SampleTable]
    spaces: bool  # whether the embedding spaces are judged too
    columns: Tensor  # (M, d): 1 where a view has one, 0 where it is narrower


def thinned(table: SampleTable, seed: int) -> np.ndarray:
    """Rows of whole sessions, 500 of them or few more, in the order of the table."""
    random = np.random.default_rng([seed, 3])
    groups = table.frame["group"].to_numpy()
    order = random.permutation(np.unique(groups))
    sizes = [(groups == name).sum() for name in order]
    kept = order[: int(np.searchsorted(np.cumsum(sizes), ROWS)) + 1]
    return np.flatnonzero(np.isin(groups, kept))


def read(name: str, seed: int) -> SampleTable:
    """Train and val alone of a stand-in; the test split of a measured one is left out unseen."""
    settings = TrainSettings(source="mfeat", seed=seed)
    if name in MADE:
        table = getattr(made, name)(seed=MADE_SEED + seed)
        table = table.take(thinned(table, seed))
        return divided(table, settings.model_copy(update={"fractions": [0.6, 0.4, 0.0]}))
    reader = mfeat.read if name == "mfeat" else getattr(measured, name)
    table = reader(seed=seed)
    if (table.frame["split"] == "").all():
        table = divided(table, settings)
    table = table.take(np.flatnonzero(table.frame["split"] != "test"))
    return table if len(table) <= ROWS else table.take(thinned(table, seed))


def load(name: str, seeds: range, variant: Variant) -> Data:
    """As many train and val recordings for each seed as the one with the fewest has, so that all
    have the same number of batches of 32.
    """
    tables = [read(name, seed) for seed in seeds]
    splits = [[table.rows(split) for split in ("train", "val")] for table in tables]
    n_train = min(len(train) for train, _ in splits) // 32 * 32
    n_val = min(len(val) for _, val in splits)
    width = max(spec.shape[0] for spec in tables[0].modalities.values())
    runs: dict[str, list[Any]] = {key: [] for key in ("x", "present", "codes", "train", "val")}
    samplers, sessions = [], []
    for seed, table, (train, val) in zip(seeds, tables, splits, strict=True):
        random = np.random.default_rng([seed, 4])
        train = np.sort(random.permutation(train)[:n_train])
        val = np.sort(random.permutation(val)[:n_val])
        rows = np.concatenate([train, val])
        groups = table.frame["group"].to_numpy()[rows]
        codes = table.codes[rows]
        runs["x"].append(torch.from_numpy(_inputs(table, train, rows, width, variant)))
        runs["present"].append(torch.from_numpy(table.present[rows]))
        runs["codes"].append(torch.from_numpy(codes))
        runs["train"].append(torch.arange(n_train))
        runs["val"].append(torch.arange(n_train, n_train + n_val))
        numbers = np.unique(groups, return_inverse=True)[1]
        sessions.append(numbers)
        samplers.append(
            StratifiedBatchSampler(
                codes[:n_train], 32, rare="drop", seed=seed, groups=numbers[:n_train]
            )
        )
    stacked = {key: torch.stack(values) for key, values in runs.items()}
    own = torch.zeros(len(tables[0].modalities), width)
    for m, spec in enumerate(tables[0].modalities.values()):
        own[m, : spec.shape[0]] = 1
    return Data(
        **stacked,
        sessions=np.stack(sessions),
        samplers=samplers,
        tables=tables,
        spaces=name == "mfeat",
        columns=own,
    )


def _inputs(
    table: SampleTable, train: np.ndarray, rows: np.ndarray, width: int, variant: Variant
) -> np.ndarray:
    """(M, n, width): normalised by the train recordings, 0 where absent and where a view is
    narrower.
    """
    # a row of the table is a row of its arrays by number, absent ones are -1
    arrays = {
        name: table.arrays[name][table.frame[name].clip(lower=0)] for name in table.modalities
    }
    if variant.quantiles:
        for m, name in enumerate(arrays):
            known = train[table.present[train, m]]
            ranks = QuantileTransformer(
                n_quantiles=min(200, len(known)), output_distribution="normal"
            ).fit(arrays[name][known])
            arrays[name] = np.clip(ranks.transform(arrays[name]), -3, 3).astype(np.float32)
    normaliser = Normaliser.fit(arrays, table.present, table.modalities, train)
    result = np.zeros((len(arrays), len(rows), width), dtype=np.float32)
    for m, name in enumerate(arrays):
        values = normaliser.apply(name, arrays[name][rows]).clip(-variant.clip, variant.clip)
        result[m, :, : values.shape[1]] = values * table.present[rows, m, None]
    return result


def batches(data: Data, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows (R, B) of the batches of an epoch, and which of them are there: batches of one number
    differ by a row or two between runs.
    """
    for sampler in data.samplers:
        sampler.set_epoch(epoch)
    for dealt in zip(*data.samplers, strict=False):
        size = max(map(len, dealt))
        rows = torch.tensor([[*part, *[part[0]] * (size - len(part))] for part in dealt])
        sizes = torch.tensor([len(part) for part in dealt])
        yield rows, torch.arange(size) < sizes[:, None]


def take(values: Tensor, rows: Tensor) -> Tensor:
    """Rows (R, B) of values (R, n, ...)."""
    return torch.stack([own[which] for own, which in zip(values, rows, strict=True)])


def train(data: Data, variant: Variant, seeds: range) -> dict[str, list[dict[str, Any]]]:
    """Trains the runs of a variant; figures by way of weighing, for each run."""
    settings = TrainSettings(
        source="mfeat",
        **{
            item.name: getattr(variant, item.name)
            for item in fields(variant)
            if item.name in TrainSettings.model_fields
        },
    )
    models = [
        QuadModel.from_table(table, settings.model_copy(update={"seed": seed}))
        for table, seed in zip(data.tables, seeds, strict=True)
    ]
    weights = {key: value.requires_grad_() for key, value in stack(models).items()}
    runs, n_classes = len(models), int(data.codes.max()) + 1
    views = data.present.shape[2]
    if variant.cross_entropy_weight:
        for key, shape in (("weight", (n_classes, settings.embedding_dim)), ("bias", (n_classes,))):
            weights[f"classifier.{key}"] = torch.zeros(runs, *shape, requires_grad=True)
    decayed = {
        key
        for key in weights
        if key.endswith("weight") and "norm" not in key and "feed_forward.0" not in key
    } - {"classifier.weight"}
    optimiser = torch.optim.AdamW(
        [
            {"params": [value], "weight_decay": variant.weight_decay if key in decayed else 0.0}
            for key, value in weights.items()
        ],
        lr=variant.learning_rate,
        fused=True,
    )
    running = copied(weights)
    ends_of_epochs: list[Weights] = []
    progress, trust = torch.zeros(runs, views), torch.ones(runs, views)
    steps_per_epoch = min(len(sampler) for sampler in data.samplers)
    logs: list[list[dict[str, Any]]] = [[] for _ in models]
    total, step = steps_per_epoch * variant.epochs, 0
    torch.manual_seed(seeds[0])
    for epoch in range(1, variant.epochs + 1):
        reached = torch.zeros(runs)
        for rows, kept in batches(data, epoch):
            factor = learning_rate_factor(step, total, settings)
            for group in optimiser.param_groups:
                group["lr"] = variant.learning_rate * factor
            codes, present = take(data.codes, rows), take(data.present, rows) & kept[..., None]
            inputs = torch.stack([x[:, which] for x, which in zip(data.x, rows, strict=True)])
            inputs = inputs + variant.noise * torch.randn_like(inputs) * data.columns[:, None]
            if variant.masked:
                inputs = inputs * (torch.rand_like(inputs) >= variant.masked)
            inputs = inputs.masked_fill(~present.transpose(1, 2)[..., None], 0.0)
            seen = present | ~kept[..., None]  # a row that is not there still needs a view to read
            out = forward(
                weights,
                inputs,
                seen,
                trust,
                drop=variant.dropout,
                hide=variant.modality_dropout,
            )
            sessions = torch.from_numpy(
                np.stack([own[which] for own, which in zip(data.sessions, rows, strict=True)])
            )
            loss, own_progress, place = objective(
                variant, weights, out, codes, present, kept, sessions, progress, n_classes
            )
            optimiser.zero_grad(set_to_none=True)
            loss.sum().backward()
            clip(weights, runs)
            optimiser.step()
            progress = torch.where(
                own_progress.isnan(), progress, progress.lerp(own_progress, 1 - PROGRESS_MEMORY)
            )
            reached += place / steps_per_epoch
            step += 1
            decay = min(RUNNING, (1 + step) / (10 + step))
            for key, value in running.items():
                value.lerp_(weights[key].detach(), 1 - decay)
        ends_of_epochs = [*ends_of_epochs, copied(weights)][-TAIL:]
        if epoch % JUDGED_EVERY:
            continue
        judged = judge(data, weights, trust, n_classes)
        for run, (log, figures) in enumerate(zip(logs, judged, strict=True)):
            log.append(figures | {"progress": float(reached[run])})
            if variant.fusion_trust:
                names = [str(m) for m in range(views)]
                skills = {f"val_skill.{m}": figures["skills"][m] for m in range(views)}
                asked = trust_of(skills | {"progress": float(reached[run])}, names)
                trust[run] = torch.ones(views) if asked is None else asked
    tail = {
        key: torch.stack([part[key] for part in ends_of_epochs]).mean(0)
        for key in ends_of_epochs[0]
    }
    results = {"plain": [summary(log) for log in logs]}
    for label, used in (("running mean", running), ("mean of the last 6", tail)):
        results[label] = [summary([line]) for line in judge(data, used, trust, n_classes)]
    for figures, log in zip(results["plain"], logs, strict=True):
        figures["collapsed"] = log[-1]["progress"] < PLATEAU_PROGRESS
        figures["flat"] = JUDGED_EVERY * sum(line["progress"] < PLATEAU_PROGRESS for line in log)
    if data.spaces:
        for label, used in (
            ("plain", weights),
            ("running mean", running),
            ("mean of the last 6", tail),
        ):
            for figures, extra in zip(results[label], spaces(data, used, trust), strict=True):
                figures.update(extra)
    return results


def copied(weights: Weights) -> Weights:
    return {key: value.detach().clone() for key, value in weights.items()}


def objective(
    variant: Variant,
    weights: Weights,
    out: Any,
    codes: Tensor,
    present: Tensor,
    kept: Tensor,
    sessions: Tensor,
    progress: Tensor,
    n_classes: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of each run (R,), each modality's own progress (R, M), and the fused one (R,)."""
    runs, rows, views = present.shape
    temperature = variant.temperature
    apart = None
    if variant.same_session == "ignore":
        apart = sessions[:, :, None] == sessions[:, None]
    fused = supcon(out.fused, codes, kept, temperature, apart)
    has = present.transpose(1, 2).flatten(0, 1)  # (R M, B)
    each_codes = codes.repeat_interleave(views, 0)
    each = supcon(
        out.by_modality.flatten(0, 1),
        each_codes,
        has,
        temperature,
        None if apart is None else apart.repeat_interleave(views, 0),
    ).unflatten(0, (runs, views))
    top, bottom = (
        end.unflatten(0, (runs, views)) for end in ends(each_codes, has, n_classes, temperature)
    )
    own = ((top - each.detach()) / (top - bottom)).where(top > bottom, torch.nan)
    loss = variant.fused_weight * fused + variant.within_weight * each.mean(1)
    entered = (progress >= variant.cross_gate) | (variant.within_weight == 0)
    if variant.cross_weight:
        pooled = out.by_modality.transpose(1, 2).flatten(1, 2)  # (R, B M, D)
        inside = (present & entered[:, None]).flatten(1, 2)
        recording = torch.arange(rows).repeat_interleave(views)
        if apart is not None:
            other = recording[:, None] != recording
            apart = apart[:, recording][:, :, recording] & other
        loss = loss + variant.cross_weight * supcon(
            pooled, codes[:, recording], inside, temperature, apart
        )
    if variant.cross_entropy_weight:
        logits = linear(weights, "classifier", out.fused)
        values = cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none")
        values = (values.unflatten(0, (runs, rows)) * kept).sum(1) / kept.sum(1)
        loss = loss + variant.cross_entropy_weight * values
    top, bottom = ends(codes, kept, n_classes, temperature)
    return loss, own, ((top - fused.detach()) / (top - bottom))


def clip(weights: Weights, runs: int) -> None:
    """Each run's gradient brought to a norm of at most 1."""
    gradients = [value.grad for value in weights.values() if value.grad is not None]
    squares = sum(gradient.reshape(runs, -1).square().sum(1) for gradient in gradients)
    assert isinstance(squares, Tensor)
    factor = (1 / (squares.sqrt() + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(factor.reshape(-1, *[1] * (gradient.ndim - 1)))


@torch.no_grad()
def judge(data: Data, weights: Weights, trust: Tensor, n_classes: int) -> list[dict[str, Any]]:
    """For each run: macro-F1 of the fused embedding on both halves of the val sessions, of each
    view, and the views' skills.
    """
    out = forward(weights, data.x, data.present, trust)
    spaces = [out.fused, *out.by_modality.unbind(1)]
    results: list[dict[str, Any]] = []
    for run, (known, asked) in enumerate(zip(data.train, data.val, strict=True)):
        codes, sessions = data.codes[run], data.sessions[run]
        half = torch.from_numpy(sessions[asked] % 2 == 0)
        votes = {}
        for place, space in enumerate(spaces):
            has = (
                torch.ones(len(codes), dtype=torch.bool)
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
                "halves": [f1(codes[shown][part], named[part]) for part in (half, ~half)],
                "errors": [
                    standard_error(codes[shown][part], named[part], groups[part])
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


def standard_error(codes: Tensor, named: Tensor, sessions: Tensor) -> float:
    """Of macro-F1, by leaving out one session at a time."""
    score = crossed_interval(
        [(codes.numpy(), named.numpy())], [sessions.numpy()], int(codes.max()) + 1, confidence=0.68
    )
    return 0.0 if score.low is None else float(score.value - score.low)


def kept_epoch(scores: np.ndarray, errors: np.ndarray) -> int:
    """The last epoch that is within a standard error of the best one before it."""
    best = np.maximum.accumulate(scores)
    return int(np.flatnonzero(scores >= best - errors)[-1])


def summary(log: list[dict[str, Any]]) -> dict[str, Any]:
    """What the epochs of a run come to: `score` with the epoch chosen on the other half of val."""
    figures = {}
    for name, key in (("score", "halves"), ("score_15", "wide")):
        halves = np.array([line[key] for line in log])
        best = len(log) - 1 - halves[::-1].argmax(0)  # of equal epochs the later one
        figures[name] = float((halves[best[1], 0] + halves[best[0], 1]) / 2)
    halves, errors = (np.array([line[key] for line in log]) for key in ("halves", "errors"))
    kept = [kept_epoch(halves[:, part], errors[:, part]) for part in (0, 1)]
    figures["score_1se"] = float((halves[kept[1], 0] + halves[kept[0], 1]) / 2)
    figures["last"] = float(np.mean(log[-1]["halves"]))
    figures["view"] = max(log[-1]["views"])
    return figures


@torch.no_grad()
def spaces(data: Data, weights: Weights, trust: Tensor) -> list[dict[str, float]]:
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
    for run, (known, asked) in enumerate(zip(data.train, data.val, strict=True)):
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


VARIANTS = {
    "defaults": Variant(),
    "clip 3": Variant(clip=3.0),
    "quantiles": Variant(quantiles=True),
    "noise 0": Variant(noise=0.0),
    "noise .3": Variant(noise=0.3),
    "masked .2": Variant(masked=0.2),
    "masked .4": Variant(masked=0.4),
    "masked .2 and temperature .2": Variant(masked=0.2, temperature=0.2),
    "masked .2 and noise .3": Variant(masked=0.2, noise=0.3),
    "dropout .3": Variant(dropout=0.3),
    "view dropout .3": Variant(modality_dropout=0.3),
    "temperature .05": Variant(temperature=0.05),
    "temperature .2": Variant(temperature=0.2),
    "cross 0": Variant(cross_weight=0.0),
    "cross .5": Variant(cross_weight=0.5),
    "cross 3": Variant(cross_weight=3.0),
    "within 1": Variant(within_weight=1.0),
    "gate 0": Variant(cross_gate=0.0),
    "gate .2": Variant(cross_gate=0.2),
    "no trust": Variant(fusion_trust=False),
    "cross-entropy .5": Variant(cross_entropy_weight=0.5),
    "sessions ignored": Variant(same_session="ignore"),
    "decay .1": Variant(weight_decay=0.1),
    "rate 1e-3": Variant(learning_rate=1e-3),
    "rate 5e-3": Variant(learning_rate=5e-3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--sets", nargs="*", default=[*MADE, *MEASURED])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=Path("outputs/study.jsonl"))
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    asked.results.parent.mkdir(parents=True, exist_ok=True)
    lines = (
        [json.loads(line) for line in asked.results.read_text().splitlines()]
        if asked.results.exists()
        else []
    )
    done = {(line["variant"], line["set"]) for line in lines}
    for name in asked.sets:
        for label in asked.variants:
            if (label, name) in done:
                continue
            seeds, variant = range(asked.seeds), VARIANTS[label]
            line = {"variant": label, "set": name}
            line["runs"] = train(load(name, seeds, variant), variant, seeds)
            with asked.results.open("a") as file:
                file.write(json.dumps(line) + "\n")
            lines.append(line)
            print(label, name, flush=True)
    print(table(lines))


def mean_of(runs: list[dict[str, Any]], key: str) -> float:
    return float(np.mean([run.get(key, math.nan) for run in runs]))


def table(lines: list[dict[str, Any]]) -> str:
    """By variant and way of weighing: its scores less those of the defaults, in points, mean over
    sets and seeds with two standard errors; then the sets one by one.
    """
    found = {
        (f"{line['variant']}, {way}" if way != "plain" else line["variant"], line["set"]): runs
        for line in lines
        for way, runs in line["runs"].items()
    }
    base = {name: runs for (label, name), runs in found.items() if label == "defaults"}
    names = [name for name in (*MADE, *MEASURED) if name in base]
    rows = [
        "| variant | score | " + " | ".join(names) + " |",
        "| --- |" + " --- |" * (len(names) + 1),
    ]
    first = [100 * np.mean([run["score"] for run in base[name]]) for name in names]
    rows.append(
        f"| defaults | {np.mean(first):.1f} | "
        + " | ".join(f"{value:.1f}" for value in first)
        + " |"
    )
    for label in dict.fromkeys(label for label, _ in found):
        for key in ("score", "score_1se", "last", "score_15"):
            if (label, key) != ("defaults", key) and not all(
                key in run for name in names for run in found.get((label, name), [])
            ):
                continue
            if label == "defaults" and key == "score":
                continue
            ahead = [
                100 * (run.get(key, math.nan) - other["score"])
                for name in names
                for run, other in zip(found.get((label, name), []), base[name], strict=False)
            ]
            each = [
                f"{100 * mean_of(found[label, name], key) - value:+.1f}"
                if (label, name) in found
                else ""
                for name, value in zip(names, first, strict=True)
            ]
            ahead = [value for value in ahead if not math.isnan(value)] or [math.nan]
            error = 2 * np.std(ahead) / math.sqrt(len(ahead))
            what = {
                "score": "",
                "last": ", last epoch",
                "score_1se": ", within an error",
                "score_15": ", 15 neighbours",
            }[key]
            rows.append(
                f"| {label}{what} | {np.mean(ahead):+.2f} ± {error:.2f} | "
                + " | ".join(each)
                + " |"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
