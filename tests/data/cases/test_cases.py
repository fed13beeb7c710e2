from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.cases.matrix import Case, Refused, Right, judge
from tests.data.cases.register import CASES
from tests.data.cases.tables import table


# `make matrix` runs all of them
@pytest.mark.parametrize("case", CASES[::5], ids=lambda case: f"{case.kind}-{case.name}")
def test_a_case_is_read_right_or_refused_with_its_cause(case: Case, tmp_path: Path):
    outcome = judge(case, tmp_path)
    assert outcome.verdict == "right", str(outcome)


def test_names_of_cases_are_unique():
    names = [(case.kind, case.name) for case in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("right", "verdict"),
    [
        (Right(), "right"),
        (Right({"x": {"r0": [0.0, 0.0]}}), "silently wrong"),
        (Right(says=("no such words",)), "silently wrong"),
        (Refused(("cause",)), "silently wrong"),
    ],
)
def test_the_judge_tells_the_ends_apart(right: Right | Refused, verdict: str, tmp_path: Path):
    assert judge(Case("plain", "judge", lambda folder: table(folder), right), tmp_path).verdict == (
        verdict
    )


def test_the_judge_sees_what_is_refused_though_it_is_healthy(tmp_path: Path):
    case = Case("one row", "judge", lambda folder: table(folder, rows=1), Right())
    assert judge(case, tmp_path).verdict == "healthy refused"
