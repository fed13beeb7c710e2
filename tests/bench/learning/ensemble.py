"""What an ensemble gains: models of several seeds on the same recordings, their unit embeddings
side by side, so that a cosine is the mean of the models' own.

`python tests/bench/learning/ensemble.py --models 3 many_sessions mfeat` prints macro-F1 on the
validation recordings of the study, at the last epoch: mean of the models alone, of the ensemble,
and the paired difference with two standard errors over the draws. No test split is opened.
"""

from __future__ import annotations

import argparse
import logging
import math

import numpy as np
import torch
from judged import f1, vote
from stacked import forward
from together import MADE, MEASURED, load
from torch import Tensor
from trained import train
from variants import VARIANTS

APART = 100  # between the seeds of two models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=[*MADE, *MEASURED])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", type=int, default=3)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    print("| set | one model | ensemble | ahead |\n| --- | --- | --- | --- |")
    for name in asked.sets:
        print(line_of(name, asked.seeds, asked.models), flush=True)


@torch.no_grad()
def line_of(name: str, seeds: int, models: int) -> str:
    data = load(name, range(seeds), VARIANTS["defaults"])
    seen = int(data.val.max()) + 1
    fused = []
    for model in range(models):
        with torch.enable_grad():
            trained = train(data, VARIANTS["defaults"], range(model * APART, model * APART + seeds))
        fused.append(
            forward(
                trained.weights, data.x[:, :, :seen], data.present[:, :seen], trained.trust
            ).fused
        )

    def scores(space: Tensor) -> np.ndarray:
        values = [
            f1(
                data.codes[run][asked],
                vote(space[run], known, asked, data.codes[run], 5, data.n_classes),
            )
            for run, (known, asked) in enumerate(zip(data.train, data.val, strict=True))
        ]
        return 100 * np.array(values)

    alone = np.mean([scores(space) for space in fused], axis=0)
    together = scores(torch.cat(fused, dim=-1) / math.sqrt(models))
    ahead = together - alone
    error = 2 * ahead.std(ddof=1) / math.sqrt(seeds)
    cells = f"{alone.mean():.1f} | {together.mean():.1f} | {ahead.mean():+.1f} ± {error:.1f}"
    return f"| {name} | {cells} |"


if __name__ == "__main__":
    main()
