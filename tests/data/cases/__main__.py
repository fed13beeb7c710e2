"""`python -m tests.data.cases [WORD ...]`: judges every case, or those whose kind or name holds a
word, and prints the counts and what is not right; exit 1 where anything is not.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

from tests.data.cases.matrix import run_all, summary
from tests.data.cases.media import CASES as MEDIA
from tests.data.cases.media_judge import judge_all
from tests.data.cases.register import CASES


def main(words: list[str]) -> int:
    logging.getLogger("quadlib").setLevel(logging.ERROR)

    def asked(kind: str, name: str) -> bool:
        return not words or any(word in f"{kind}: {name}" for word in words)

    cases = [case for case in CASES if asked(case.kind, case.name)]
    media = [case for case in MEDIA if asked(case[1], case[0])]
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run_all(cases, Path(folder) / "tables")
        outcomes += judge_all(media, Path(folder) / "media")
    print(summary(outcomes))
    return int(any(outcome.verdict != "right" for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
