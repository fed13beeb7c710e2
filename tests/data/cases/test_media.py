from __future__ import annotations

import shutil

import pytest

from tests.data.cases.media import CASES
from tests.data.cases.media_judge import judge_all

QUICK = 9  # every so many-th case; `make matrix` takes all


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs the command ffmpeg to make files")
def test_media_are_read_right_or_refused_with_their_cause(tmp_path):
    few = [case for case in CASES[::QUICK] if "megapixels" not in case[0]]
    wrong = [item for item in judge_all(few, tmp_path) if item.verdict != "right"]
    assert not wrong, "\n".join(map(str, wrong))


def test_names_of_media_cases_are_unique():
    names = [(case[1], case[0]) for case in CASES]
    assert len(set(names)) == len(names)
