from __future__ import annotations

import shutil

import pytest

from tests.data.strangers import every_case
from tests.data.strangers.run import judge

# The dear ones are for `make matrix`, which runs all.
QUICK = [name for name in every_case() if name[0] not in ("sounds", "clips")][::17]


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs the command ffmpeg to make files")
@pytest.mark.parametrize(
    "name", [*QUICK, ("sounds", "aiff"), ("clips", "rotation_90")], ids="/".join
)
def test_a_strangers_files_are_read_right_or_refused_with_their_cause(name: tuple[str, str]):
    outcome = judge(every_case()[name])
    assert outcome.good, f"{outcome.result}: {outcome.why}\n{outcome.words}"
