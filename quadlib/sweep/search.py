"""A search for the best settings by Optuna, whose trials are points of a sweep; its study lies in
the sweep's folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quadlib.config import SettingsError
from quadlib.config.sweep import RangeSettings
from quadlib.reports.point import Ended
from quadlib.runs import Run
from quadlib.sweep.plan import Plan, identity
from quadlib.sweep.points import Point, measured

try:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.distributions import CategoricalDistribution as Choices
    from optuna.distributions import FloatDistribution as Floats
    from optuna.distributions import IntDistribution as Whole
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:
    raise SettingsError(
        f"search: Optuna is missing ({error}); it comes with pip install 'quadlib[optuna]'"
    ) from None

STUDY = "study.db"


class Search:
    """Trials by a TPE sampler that maximises macro-F1 on the validation split.

    Each trial's settings follow from the seed, its number and the trials that were over before it:
    one at a time, a search that was interrupted ends as one that was not. The test split is not
    looked at; `quadlib.sweep.run` evaluates the trial that was chosen.
    """

    def __init__(self, plan: Plan, run: Run) -> None:
        """Opens the study of the sweep's folder, or makes it; raises SettingsError where it was
        begun with other ranges or fixed settings.
        """
        self.plan, self.run = plan, run
        self.notebooks = [str(plan.notebook)]
        self.total = plan.trials
        self._ranges = {name: _distribution(item) for name, item in plan.ranges.items()}
        _refuse_others(plan, run)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            study_name=run.name,
            storage=f"sqlite:///{run.path(STUDY)}",
            direction="maximize",
            load_if_exists=True,
        )
        trials = self.study.get_trials(deepcopy=False)
        self.points = [self._point(trial) for trial in trials]
        self.total = max(self.total, len(self.points))
        self._left = [trial for trial in trials if trial.state == TrialState.RUNNING]

    def waiting(self) -> Iterator[Point]:
        """Trials that an earlier command left, then new ones, each asked for when a worker is
        free.
        """
        yield from (self.points[trial.number] for trial in self._left)
        while len(self.points) < self.total:
            # one seed for all would draw the first values again in every command
            seed = int(self.plan.fixed.get("seed", 0)) + len(self.points)
            self.study.sampler = optuna.samplers.TPESampler(seed=seed)
            trial = self.study.ask(self._ranges)
            point = self._point(self.study.get_trials(deepcopy=False)[trial.number])
            self.points.append(point)
            yield point

    def tell(self, point: Point, ended: Ended) -> None:
        """Gives the score of a trial; one that failed has none, and one that was killed or stopped
        is left for the next command.
        """
        number = point.number - 1
        score = measured(point.run) if ended.status == "done" else None
        if score is not None:
            self.study.tell(number, score)
        elif ended.status in ("done", "failed"):
            self.study.tell(number, state=TrialState.FAIL)

    def _point(self, trial: FrozenTrial) -> Point:
        number = trial.number + 1
        run = Run(self.run.folder.parent / f"{self.run.name}-{number:03d}")
        values = {name: trial.params[name] for name in self.plan.ranges}
        return Point(number, run, values, self.plan.settings(values))


def _distribution(item: RangeSettings) -> BaseDistribution:
    if item.choices:
        return Choices(item.choices)
    assert item.low is not None and item.high is not None
    if all(isinstance(value, int) for value in (item.low, item.high, item.step or 1)):
        return Whole(int(item.low), int(item.high), log=item.log, step=int(item.step or 1))
    return Floats(item.low, item.high, log=item.log, step=item.step)


def _refuse_others(plan: Plan, run: Run) -> None:
    """Scores of other settings are no scores of this search."""
    fixed = {
        name: value
        for name, value in identity(plan.settings(plan.points[0])).items()
        if name not in plan.ranges
    }
    ranges = {name: item.model_dump() for name, item in plan.ranges.items()}
    asked: Mapping[str, Any] = {"fixed": fixed, "search": ranges}
    begun = run.record["sweep"]
    changed = [
        f"  [{table}] {name}: {begun[table].get(name)!r} -> {asked[table].get(name)!r}"
        for table in asked
        if table in begun
        for name in sorted({*begun[table], *asked[table]})
        if begun[table].get(name) != asked[table].get(name)
    ]
    if changed:
        lines = "\n".join(changed)
        raise SettingsError(
            f"search: {run.name} was begun with others:\n{lines}\nName this search by --run, or "
            "take them back; trials alone may grow"
        )
    run.update(sweep=begun | asked)
