"""The doctor on training scripts of strangers, each run unchanged: `quadlib doctor SCRIPT -- ...`.

python tests/bench/loops.py [--folder tests/bench/loops] [--only q01,q08] [--python PATH] [--seed 0]

Every script of the folder holds literals FAULTS (name -> stages, the root's first) and HEALTHY
(names); both are read from its text. A fault is detected when there is an alarm, and its root is
named first when the first alarm's stage is the first one that the script names; a later one counts
as "near". Writes outputs/bench/loops.json. Needs the extra `peers`.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 180


def cases_of(script: Path) -> list[tuple[str, str, str]]:
    """(script, variant, stages) of every fault and healthy variant; stages "" for healthy ones."""
    literals = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(script.read_text()).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("FAULTS", "HEALTHY")
    }
    faults = {
        name: entry["stages"] if isinstance(entry, dict) else entry[0]
        for name, entry in literals["FAULTS"].items()
    }
    healthy = literals.get("HEALTHY", ["healthy"])
    return [(str(script), name, stages) for name, stages in faults.items()] + [
        (str(script), name, "") for name in healthy
    ]


def examine(case: tuple[str, str, str], python: str, seed: int) -> dict[str, Any]:
    """One run of the doctor over one variant of a script."""
    script, variant, stages = case
    options = ["--fault", variant, "--seed", str(seed)]
    text = Path(script).read_text()
    if "--healthy" in text:
        options = [f"--{'fault' if stages else 'healthy'}", "" if variant == "plain" else variant]
    elif '"--fault"' not in text:  # those that take it by position
        options = [variant]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "verdict.json"
        command = [python, "-m", "quadlib", "doctor", script, "--json", str(path), "--", *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        began = time.monotonic()
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, check=False,
                timeout=LIMIT_SECONDS,
            )  # fmt: skip
            said, code = done.stdout + done.stderr, done.returncode
        except subprocess.TimeoutExpired:
            said, code = f"did not end within {LIMIT_SECONDS} s", -1
        verdict = json.loads(path.read_text()) if path.exists() else {}
    alarms = [root for root in verdict.get("roots", []) if root["severity"] != "note"]
    return {
        "script": Path(script).stem,
        "variant": variant,
        "stages": stages,
        "exit_code": code,
        "alarms": [f"{root['code']} {root['title']}" for root in alarms],
        "first": alarms[0]["code"][3] if alarms else "",
        "seconds": time.monotonic() - began,
        "said": said[-3000:],
        "crashed": verdict.get("crashed", []),
    }


def judge(result: dict[str, Any]) -> str:
    """One word for a result."""
    if result["exit_code"] not in (0, 1, 2):
        return "broken"
    if not result["stages"]:
        return {0: "silent", 1: "ALARM", 2: "could not judge"}[result["exit_code"]]
    if not result["alarms"]:
        return "could not judge" if result["exit_code"] == 2 else "missed"
    letters = result["stages"].replace(" ", "")
    first = result["first"]
    return "root first" if first == letters[0] else "near" if first in letters else "detected"


def summary(results: list[dict[str, Any]]) -> str:
    """Counts over faults and healthy runs."""
    faults = [judge(item) for item in results if item["stages"]]
    healthy = [judge(item) for item in results if not item["stages"]]
    named = faults.count("root first")
    near = named + faults.count("near")
    detected = near + faults.count("detected")
    seconds = sorted(item["seconds"] for item in results)
    return (
        f"{len(faults)} faults: root first {named} ({named / max(len(faults), 1):.0%}), in one of "
        f"the named stages {near} ({near / max(len(faults), 1):.0%}), detected {detected} "
        f"({detected / max(len(faults), 1):.0%}), could not judge {faults.count('could not judge')}"
        f"\n{len(healthy)} healthy runs: {healthy.count('ALARM')} alarms, "
        f"{healthy.count('could not judge')} not judged, {healthy.count('broken')} broken"
        f"\nseconds a run: median {seconds[len(seconds) // 2]:.1f}, most {seconds[-1]:.1f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path(__file__).with_name("loops"))
    parser.add_argument("--only", default="", help="starts of script names, separated by commas")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    wanted = tuple(filter(None, chosen.only.split(",")))
    scripts = [
        path
        for path in sorted(chosen.folder.glob("[a-z][0-9][0-9]_*.py"))
        if not wanted or path.name.startswith(wanted)
    ]
    cases = [case for script in scripts for case in cases_of(script.resolve())]
    cases.sort(key=lambda case: not case[2])  # the faults first
    with ThreadPoolExecutor(chosen.processes) as pool:
        results = []
        for result in pool.map(lambda case: examine(case, chosen.python, chosen.seed), cases):
            results.append(result)
            print(
                f"{result['script']:<20} {result['variant']:<28} {result['stages']:<8} "
                f"{judge(result):<16} {'; '.join(result['alarms'])[:110]}",
                flush=True,
            )
    print(summary(results))
    target = ROOT / "outputs" / "bench" / "loops.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
