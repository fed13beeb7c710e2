"""The table of scores: fused, best single view and baselines on the test split of every stand-in.

`python tests/bench/learning/table.py --seeds 5 mfeat htad` trains five runs of each side by side
with the defaults, and scores the weights of two epochs: the one with the highest score on the
validation split, and the one that the trainer keeps. The settings are chosen by study.py, which
sees no test split; restarts of a collapsed run are left out, so that a collapse counts.
"""

from __future__ import annotations

import argparse
import logging
from typing import Any

import numpy as np
import torch
from judged import kept_epoch, spaces, test_scores
from scored import score_baselines
from stacked import Weights, copied
from together import MADE, MEASURED, load
from torch import Tensor
from trained import train
from variants import VARIANTS

from quadlib.registry import SOURCES, register_source
from quadlib.training.collapse import PLATEAU_PROGRESS


class Chosen:
    """The weights and the trust of the epoch that a rule chooses, for each run."""

    def __init__(self, rule: str, runs: int, views: int) -> None:
        self.rule, self.weights, self.trust = rule, {}, torch.ones(runs, views)

    def keep(self, run: int, log: list[dict[str, Any]], weights: Weights, trust: Tensor) -> None:
        """Takes the run's weights where the rule chooses its last epoch so far."""
        self.weights = self.weights or copied(weights)
        scores, errors = (np.array([line[name] for line in log]) for name in ("val", "val_error"))
        if kept_epoch(scores, errors if self.rule == "kept" else 0 * errors) == len(log) - 1:
            self.trust[run] = trust[run]
            for key, value in self.weights.items():
                value[run] = weights[key][run].detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=[*MADE, *MEASURED])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--variant", default="defaults", choices=VARIANTS)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    print(
        "| set | epoch | fused | best view | kNN | logistic | extra trees | collapsed | weights |"
    )
    print("| --- |" + " --- |" * 8)
    for name in asked.sets:
        print(lines_of(name, range(asked.first, asked.first + asked.seeds), asked), flush=True)


def lines_of(name: str, seeds: range, asked: argparse.Namespace) -> str:
    variant = VARIANTS[asked.variant]
    data = load(name, seeds, variant, whole=True)
    rules = [Chosen(rule, len(seeds), data.present.shape[2]) for rule in ("highest", "kept")]

    def keep(*facts: Any) -> None:
        for rule in rules:
            rule.keep(*facts)

    trained = train(data, variant, seeds, keep)
    collapsed = sum(log[-1]["progress"] < PLATEAU_PROGRESS for log in trained.logs)
    plain = [baselines_of(name, seed) for seed in seeds]
    lines = []
    for rule in rules:
        scores = test_scores(data, rule.weights, rule.trust)
        views = np.mean([max(score["views"]) for score in scores])
        cells = [
            name,
            rule.rule,
            f"{np.mean([score['fused'] for score in scores]):.3f}",
            f"{views:.3f}",
            *(
                f"{np.mean([score[label] for score in plain]):.3f}"
                for label in ("kNN", "logistic", "extra trees")
            ),
            f"{collapsed} of {len(seeds)}",
            " ".join(f"{w:.2f}" for w in np.mean([score["weights"] for score in scores], 0)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
        if data.spaces:
            more = spaces(data, rule.weights, rule.trust, data.test)
            figures = {"5-NN": np.mean([score["accuracy"] for score in scores])} | {
                key: np.mean([run[key] for run in more]) for key in more[0]
            }
            lines.append("  " + ", ".join(f"{key} {100 * v:.2f}" for key, v in figures.items()))
    return "\n".join(lines)


def baselines_of(name: str, seed: int) -> dict[str, float]:
    if name not in SOURCES:
        import made
        import measured

        register_source(name, getattr(made if name in MADE else measured, name))
    return score_baselines(name, seed)


if __name__ == "__main__":
    main()
