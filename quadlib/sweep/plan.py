"""A sweep's file as a plan: every wrong key and every wrong value of every point is named at once,
before anything starts.
"""

from __future__ import annotations

import itertools
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quadlib.config import (
    RunSettings,
    SettingsError,
    TrainSettings,
    read_settings,
)
from quadlib.config.sweep import LimitSettings, RangeSettings, SweepSettings
from quadlib.reports.crossval import MAY_CHANGE
from quadlib.reports.execute import check_parameters, find_notebook, settings_model
from quadlib.runs import RunError
from quadlib.sweep.recordings import unreadable

MOST_POINTS = 10_000
# What a sweep sets itself.
OWN = {
    "run": "it names the runs itself",
    "outputs": "--outputs says where they lie",
    "resume": "a run goes on where it stopped",
}
TRIALS = "trials"
SEEDS_OF_DATA = ("data_seed", "split_seed")  # which do not follow `seed` in a grid


@dataclass(frozen=True)
class Plan:
    """What a file asks for. `points` holds the settings that vary, one mapping a run, in the order
    of the file; of a search they are the ends of its `ranges`, by which they were checked.
    """

    notebook: Path
    fixed: dict[str, Any]
    points: list[dict[str, Any]]
    limits: LimitSettings
    ranges: dict[str, RangeSettings]
    trials: int = 0
    outputs: str = ""

    @property
    def is_search(self) -> bool:
        return self.trials > 0

    def settings(self, point: Mapping[str, Any]) -> TrainSettings:
        """The settings of a point's run."""
        settings = check_parameters(self.notebook, {**self.fixed, **point, "outputs": self.outputs})
        assert isinstance(settings, TrainSettings)
        return settings


def read_plan(path: str | Path, outputs: str = "") -> Plan:
    """Reads a sweep's file, and checks every setting of every point.

    A grid over `seed` varies training alone: recordings that a source makes or divides are those of
    the smallest seed, unless `data_seed` or `split_seed` is given.

    Args:
        path: TOML file with the tables of SweepSettings.
        outputs: Outputs folder, where a source may make its recordings; empty takes the project's.

    Raises:
        SettingsError: The file cannot be read, or settings are wrong; the message lists all.

    Example:
        >>> text = '[fixed]\\nsource = "mfeat"\\n[grid]\\nseed = [0, 1]\\ntemperature = [0.1, 0.2]'
        >>> _ = Path("grid.toml").write_text(text)
        >>> read_plan("grid.toml").points[1]
        {'seed': 0, 'temperature': 0.2}
    """
    values = _read(Path(path))
    problems: list[str] = []
    file = _model(SweepSettings, values, problems)
    limits = _model(LimitSettings, file.limits, problems, "limits.")
    notebook = _notebook(file.notebook, problems)
    fixed = dict(file.fixed)
    problems += _misplaced(file)
    ranges: dict[str, RangeSettings] = {}
    points: list[dict[str, Any]] = [{}]
    trials = 0
    if file.search:
        trials = _trials(file.search, problems)
        ranges = _ranges(file.search, problems)
        points = [{name: end} for name, item in ranges.items() for end in item.ends]
    elif file.grid:
        points = _product(file.grid, problems)
        seeds = [point["seed"] for point in points if isinstance(point.get("seed"), int)]
        for name in SEEDS_OF_DATA if seeds else ():
            if name not in {*fixed, *file.grid}:
                fixed[name] = min(seeds)
    else:
        problems.append(
            "grid: it is missing; write a table of lists, such as [grid] and seed = [0, 1], or "
            "[search] with a range for each setting"
        )
    plan = Plan(notebook, fixed, points, limits, ranges, trials, outputs)
    wrong = [*_wrong(plan)]
    problems += wrong or [*_repeated(plan)]
    asked = {label(point): {**fixed, **point, "outputs": outputs} for point in points}
    if not problems or all("source" in values for values in asked.values()):
        problems += unreadable(asked)  # else the default, which is simulated, may not be meant
    if problems:
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise SettingsError(f"{path}: {count}:\n{lines}", problems)
    return plan


def label(point: Mapping[str, Any]) -> str:
    """A point in one line: `seed=0 temperature=0.1`."""
    return " ".join(f"{name}={value_text(value)}" for name, value in point.items())


def identity(settings: TrainSettings) -> dict[str, Any]:
    """What makes a point's result; what changes none may be changed between two commands."""
    free = {*MAY_CHANGE, *RunSettings.model_fields} - {"seed"}
    return {name: value for name, value in settings.changed().items() if name not in free}


def value_text(value: Any, digits: int = 4) -> str:
    """A value as it is printed, a fraction to so many digits, or with all of them (0)."""
    if isinstance(value, float) and digits:
        return f"{value:.{digits}g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read ({error}); give a TOML file") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(
            f"{path} is not TOML: {error}; write one setting a line, text in quotes, such as "
            'source = "mfeat" and seed = [0, 1]'
        ) from None


def _model(model: Any, values: Mapping[str, Any], problems: list[str], prefix: str = "") -> Any:
    """The settings, without those that are wrong, which are added to the problems."""
    try:
        return read_settings(model, values)
    except SettingsError as error:
        problems += [prefix + problem for problem in error.problems]
        wrong = {problem.partition(":")[0] for problem in error.problems}
        return model(**{name: value for name, value in values.items() if name not in wrong})


def _notebook(name: str, problems: list[str]) -> Path:
    """The notebook of that name; where it is wrong, the one by which settings are checked."""
    try:
        notebook = find_notebook(name)
        if settings_model(notebook) is TrainSettings:
            return notebook
        problems.append(
            f"notebook: {name!r} does not train; take 02_train, or a copy whose name starts so"
        )
    except RunError as error:
        text = str(error)
        problems.append(text if text.startswith("notebook:") else f"notebook: {text}")
    return find_notebook("02_train")


def _misplaced(file: SweepSettings) -> Iterable[str]:
    """Settings that a sweep sets itself, and those that stand in two tables."""
    tables = {"fixed": file.fixed, "grid": file.grid, "search": file.search}
    if file.grid and file.search:
        yield "grid, search: a sweep has one of both; put them into two files"
    for name in dict.fromkeys(itertools.chain(*tables.values())):
        places = [table for table, values in tables.items() if name in values]
        if name in OWN:
            yield f"{name}: a sweep sets it itself, since {OWN[name]}; leave it out"
        if len(places) > 1:
            yield f"{name}: it stands in [{'] and ['.join(places)}]; keep one"


def _product(grid: Mapping[str, Any], problems: list[str]) -> list[dict[str, Any]]:
    """Every value with every other, the last setting of the file varying fastest."""
    lists: dict[str, list[Any]] = {}
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            problems.append(
                f"{name}: {values!r} in [grid] is no list of values; write {name} = "
                f"[{value_text(values) if values != [] else '...'}], or put one value into [fixed]"
            )
            values = values if isinstance(values, list) else [values]
        texts = [json.dumps(value, sort_keys=True, default=str) for value in values]
        if len(set(texts)) < len(texts):
            problems.append(f"{name}: {values!r} in [grid] holds a value twice; keep one")
        lists[name] = values
    if (count := math.prod(map(len, lists.values()))) > MOST_POINTS:
        problems.append(f"grid: it has {count:,} points; at most {MOST_POINTS:,} are run")
        lists = {name: values[:1] for name, values in lists.items()}
    points = [
        dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())
    ]
    return points or [{}]


def _trials(search: Mapping[str, Any], problems: list[str]) -> int:
    trials = search.get(TRIALS, 20)
    if not isinstance(trials, int) or isinstance(trials, bool) or not 1 <= trials <= MOST_POINTS:
        problems.append(f"{TRIALS}: {trials!r} in [search] is no number from 1 to {MOST_POINTS:,}")
        return 1
    return trials


def _ranges(search: Mapping[str, Any], problems: list[str]) -> dict[str, RangeSettings]:
    ranges = {}
    for name, values in search.items():
        if name == TRIALS:
            continue
        values = {"choices": values} if isinstance(values, list) else values
        if not isinstance(values, dict):
            problems.append(
                f"{name}: {values!r} in [search] is no range; write {{low = ..., high = ...}} or a "
                "list of choices, or put one value into [fixed]"
            )
            continue
        try:
            ranges[name] = read_settings(RangeSettings, values)
        except SettingsError as error:
            problems += [f"{name}: {problem}" for problem in error.problems]
    if not ranges and not problems:
        problems.append("search: no setting to look for; write learning_rate = {low = 1e-4, ...}")
    return ranges


def _wrong(plan: Plan) -> Iterable[str]:
    """What is wrong with the settings of any point, each problem once."""
    points: dict[str, list[str]] = {}
    for point in plan.points:
        try:
            plan.settings(point)
        except SettingsError as error:
            for problem in error.problems:
                points.setdefault(problem, []).append(label(point))
    for problem, where in points.items():
        some = 0 < len(where) < len(plan.points)
        yield (
            f"{problem} [{len(where)} of {len(plan.points)} points, {where[0]}]"
            if some
            else problem
        )


def _repeated(plan: Plan) -> Iterable[str]:
    """Points of a grid that would be one run."""
    first: dict[str, str] = {}
    for point in [] if plan.is_search else plan.points:
        key = json.dumps(identity(plan.settings(point)), sort_keys=True)
        if key in first:
            yield (
                f"{label(point)}: it gives the same result as {first[key]}; put what changes none "
                "into [fixed]"
            )
        first.setdefault(key, label(point))
