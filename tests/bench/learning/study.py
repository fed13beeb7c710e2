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
from pathlib import Path
from typing import Any

import numpy as np
from judged import judge, spaces, summary
from together import MADE, MEASURED, Data, load
from trained import JUDGED_EVERY, Trained, train
from variants import VARIANTS

from quadlib.training.collapse import PLATEAU_PROGRESS

WAYS = {
    "highest": ("plain", "score"),  # the epoch of the highest score
    "within an error": ("plain", "score_1se"),  # the latest within a standard error of it
    "within half": ("plain", "score_half"),
    "within its difference's": ("plain", "score_difference"),
    "mean of 3 epochs": ("plain", "score_smoothed"),
    "last": ("plain", "last"),
    "running mean": ("running mean", "last"),
    "mean of 6 epochs": ("mean of the last 6", "last"),
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
            data = load(name, seeds, variant)
            line["runs"] = figures(data, train(data, variant, seeds))
            with asked.results.open("a") as file:
                file.write(json.dumps(line) + "\n")
            lines.append(line)
            print(label, name, flush=True)
    print(table(lines))


def figures(data: Data, trained: Trained) -> dict[str, list[dict[str, Any]]]:
    """For the last weights and for both means of weights, the figures of each run."""
    results = {"plain": [summary(log) for log in trained.logs]}
    ways = {"running mean": trained.running, "mean of the last 6": trained.tail}
    for label, weights in ways.items():
        results[label] = [summary([line]) for line in judge(data, weights, trained.trust)]
    for found, log in zip(results["plain"], trained.logs, strict=True):
        found["collapsed"] = log[-1]["progress"] < PLATEAU_PROGRESS
        found["flat"] = JUDGED_EVERY * sum(line["progress"] < PLATEAU_PROGRESS for line in log)
    if data.spaces:
        for label, weights in {"plain": trained.weights, **ways}.items():
            more = spaces(data, weights, trained.trust, data.val)
            for found, extra in zip(results[label], more, strict=True):
                found.update(extra)
    return results


def table(lines: list[dict[str, Any]]) -> str:
    """For every variant and way to choose its weights: the score less that of the defaults with the
    epoch of the highest score, in points: mean over sets and seeds with two standard errors, then
    the sets one by one.
    """
    found = {(line["variant"], line["set"]): line["runs"] for line in lines}
    base = {name: runs["plain"] for (label, name), runs in found.items() if label == "defaults"}
    names = [name for name in (*MADE, *MEASURED) if name in base]
    first = {name: 100 * np.mean([run["score"] for run in base[name]]) for name in names}
    rows = [
        f"| variant | weights | all | {' | '.join(names)} |",
        "| --- |" + " --- |" * (len(names) + 2),
        "| defaults | highest | "
        + " | ".join(f"{value:.1f}" for value in (np.mean([*first.values()]), *first.values()))
        + " |",
    ]
    for label in dict.fromkeys(line["variant"] for line in lines):
        for title, (way, key) in WAYS.items():
            ahead = {
                name: [
                    100 * (run[key] - other["score"])
                    for run, other in zip(found[label, name][way], base[name], strict=True)
                ]
                for name in names
                if (label, name) in found and all(key in run for run in found[label, name][way])
            }
            if not ahead or (label, title) == ("defaults", "highest"):
                continue
            every = np.concatenate([*ahead.values()])
            error = 2 * every.std(ddof=1) / math.sqrt(len(every))
            cells = [f"{np.mean(ahead[name]):+.1f}" if name in ahead else "" for name in names]
            rows.append(
                f"| {label} | {title} | {every.mean():+.2f} ± {error:.2f} | {' | '.join(cells)} |"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
