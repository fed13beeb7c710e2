"""The doctor on pipelines that it was not made with: plain PyTorch, mistakes written from the
description of the zoo alone.

python tests/bench/held_out [--set second] [--seeds 3] [--only NAME,NAME] [--kind
faults|healthy|all]

The cases of both sets were written by somebody who had not seen the checks; those of the first were
then used to mend them, so only their first run was blind. A fault is right when its zoo row's own
code is the first root. Writes outputs/bench/held_out-SET.json.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

SETS = {"first": "cases", "second": "second_cases"}
sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from case import Case  # noqa: E402 - found beside this file, which is run by its path
from doctor import judge, summary  # noqa: E402


def examine(case: Case, seed: int) -> dict[str, Any]:
    """Builds the subject, diagnoses it, and says what was found; what raises is a result too."""
    from quadlib.diagnosis import diagnose

    result: dict[str, Any] = {
        "kind": "fault" if case.row else "healthy",
        "name": case.row or case.name,
        "case": case.name,
        "source": case.pipeline,
        "seed": seed,
        "error": "",
        "roots": [],
        "alarms": [],
        "folded": [],
        "raised": [],
    }
    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            subject = case.build(seed)
            began = time.perf_counter()
            diagnosis = diagnose(subject)
    except Exception:
        return {
            **result,
            "error": traceback.format_exc(limit=-3),
            "seconds": time.perf_counter() - began,
        }
    return {
        **result,
        "seconds": time.perf_counter() - began,
        "roots": [[root.code, root.severity, root.title] for root in diagnosis.roots],
        "alarms": [root.code for root in diagnosis.roots if root.severity != "note"],
        "folded": [item.code for root in diagnosis.roots for item in root.folded],
        "raised": [
            f"{label}: {reason}"
            for label, reason in diagnosis.not_run
            if reason.startswith("it raised")
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", choices=SETS, default="first")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="names of cases, separated by commas")
    parser.add_argument("--kind", choices=("faults", "healthy", "all"), default="all")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    only, kinds = (
        set(filter(None, given.only.split(","))),
        {"faults": (True,), "healthy": (False,), "all": (True, False)}[given.kind],
    )
    results = []
    for case in importlib.import_module(SETS[given.set]).CASES:
        if (only and case.name not in only) or bool(case.row) not in kinds:
            continue
        for seed in range(given.seeds):
            result = examine(case, seed)
            results.append(result)
            wrong = result["error"] or (
                not judge(result)["right"] if case.row else bool(result["alarms"])
            )
            answer = (
                " ".join(
                    code + ("(note)" if severity == "note" else "")
                    for code, severity, _ in result["roots"]
                )
                or "nothing"
            )
            last = result["error"].strip().splitlines()[-1:] or result["raised"]
            print(
                f"{'WRONG ' if wrong else '      '}{case.row or '-':<4} {case.name:<44} {seed} "
                f"{result['seconds']:5.1f} s  {answer}  {'; '.join(last)}",
                flush=True,
            )
    report = summary(results)
    print(
        "\n"
        + "\n".join(
            f"{name}: {value}" for name, value in report.items() if not isinstance(value, list)
        )
    )
    if not only:
        from quadlib.files import outputs_folder, write_text

        write_text(
            outputs_folder("") / "bench" / f"held_out-{given.set}.json",
            json.dumps({**report, "results": results}, indent=1),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
