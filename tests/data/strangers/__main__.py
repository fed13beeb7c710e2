"""Every case by quadlib's public doors: `python -m tests.data.strangers [part of a name ...]`."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter

from . import KINDS, every_case
from .run import BAD, GOOD, Outcome, judge

LIMIT_S = 120  # a case that takes longer hangs


def main(wanted: list[str]) -> int:
    """Print the count of every class for each kind, and every bad case in one line."""
    outcomes = _judged([name for name in every_case() if _asked(name, wanted)])
    classes = [*GOOD, *BAD]
    print(f"{'kind':<16}" + "".join(f"{name:>19}" for name in ["cases", *classes]))
    for kind in [*KINDS, "all"]:
        counts = Counter(
            outcome.result for name, outcome in outcomes.items() if kind in ("all", name[0])
        )
        if counts:
            row = [counts.total(), *(counts[name] for name in classes)]
            print(f"{kind:<16}" + "".join(f"{number:>19}" for number in row))
    bad = {name: outcome for name, outcome in outcomes.items() if not outcome.good}
    print(f"\n{len(outcomes) - len(bad)} of {len(outcomes)} good")
    for (kind, name), outcome in bad.items():
        print(f"{outcome.result}  {kind}/{name}: {' '.join(outcome.why.split())[:400]}")
    return 1 if bad else 0


def _asked(name: tuple[str, str], wanted: list[str]) -> bool:
    return not wanted or any(part in "/".join(name) for part in wanted)


def _judged(names: list[tuple[str, str]]) -> dict[tuple[str, str], Outcome]:
    """In one process of its own, which is ended and started again where a case hangs."""
    outcomes: dict[tuple[str, str], Outcome] = {}
    while left := [name for name in names if name not in outcomes]:
        command = [sys.executable, "-m", "tests.data.strangers", "--worker"]
        worker = subprocess.Popen(
            [*command, *("/".join(name) for name in left)], stdout=subprocess.PIPE, text=True
        )
        lines: queue.Queue[str] = queue.Queue()
        assert worker.stdout is not None
        threading.Thread(target=_pump, args=(worker.stdout, lines), daemon=True).start()
        for name in left:
            try:
                line = lines.get(timeout=LIMIT_S)
            except queue.Empty:
                worker.kill()
                outcomes[name] = Outcome("HANG", f"longer than {LIMIT_S} s")
                break
            if not line:
                outcomes[name] = Outcome("FOREIGN TRACEBACK", "the process ended")
                break
            outcomes[name] = Outcome(**json.loads(line))
            print(f"{outcomes[name].result:<18} {'/'.join(name)}", file=sys.stderr, flush=True)
        worker.wait()
    return outcomes


def _pump(stream, lines: "queue.Queue[str]") -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def _work(names: list[str]) -> None:
    """Judge cases one after another; what quadlib prints does not mix with the answers."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    cases = every_case()
    for name in names:
        kind, _, short = name.partition("/")
        outcome = judge(cases[kind, short])
        print(json.dumps(vars(outcome)), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _work(sys.argv[2:])
    else:
        sys.exit(main(sys.argv[1:]))
