"""How well the defaults learn, on tables that are hard in one way each.

`python tests/bench/learning --seeds 3 one_good digits -p epochs=12` prints a line a set: macro-F1
of the fused embedding, of the best single view, of kNN, logistic regression and extra trees on the
same split, how many runs collapsed, and how many epochs were spent on the plateau.
"""

from __future__ import annotations

import argparse
import logging
from statistics import mean

import made
import measured
from scored import score_baselines, score_run

from quadlib.registry import SOURCES, register_source

MADE = (
    made.one_good,
    made.all_good,
    made.session_shift,
    made.half_missing,
    made.many_sessions,
    made.cycles,
)
MEASURED = (
    measured.digits,
    measured.htad,
    measured.mfeat_1_noise,
    measured.mfeat_2_noise,
    measured.mfeat_3_noise,
)
READERS = {reader.__name__: reader for reader in (*MADE, *MEASURED)}
COLUMNS = (
    "| set | fused | best view | kNN | logistic | extra trees | collapsed | flat epochs | val "
    "| weights |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=[*READERS, "mfeat"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("-p", action="append", default=[], help="NAME=VALUE of a training setting")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    for name, reader in READERS.items():
        if name not in SOURCES:
            register_source(name, reader)
    changes = dict(pair.split("=", 1) for pair in asked.p)
    print(COLUMNS)
    print("|" + " --- |" * (COLUMNS.count("|") - 1))
    for name in asked.sets:
        print(
            line_of(name, range(asked.first, asked.first + asked.seeds), asked, changes), flush=True
        )


def line_of(name: str, seeds: range, asked: argparse.Namespace, changes: dict[str, str]) -> str:
    runs = [score_run(name, seed, **changes) for seed in seeds]
    plain = [] if asked.no_baselines else [score_baselines(name, seed) for seed in seeds]
    baselines = [
        f"{mean(scores[label] for scores in plain):.3f}" if plain else ""
        for label in ("kNN", "logistic", "extra trees")
    ]
    weights = " ".join(
        f"{view} {mean(run.weights[view] for run in runs):.2f}" for view in runs[0].weights
    )
    cells = [
        name,
        f"{mean(run.fused for run in runs):.3f}",
        f"{mean(run.single for run in runs):.3f}",
        *baselines,
        f"{sum(run.collapsed for run in runs)} of {len(runs)}",
        f"{mean(run.flat_epochs for run in runs):.1f}",
        f"{mean(run.val for run in runs):.3f}",
        weights,
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
