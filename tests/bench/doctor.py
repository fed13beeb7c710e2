"""The benchmark of the doctor: every fault on every source and seed, and healthy runs that look
like faulty ones.

python tests/bench/doctor.py [--quick] [--only S1,B5,small_batch] [--source mfeat] [--seeds 5]
[--processes 2]

Writes outputs/bench/doctor.json and doctor.html. A fault is detected when there is any alarm, right
when its own code is the first root.
"""

from __future__ import annotations

import argparse
import html
import itertools
import json
import os
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

SOURCES = ("mfeat", "weldsim")
HEALTHY_ROUNDS = 6  # x look-alikes x sources: more than 300 runs
Case = tuple[str, str, str, int]  # kind, name, source, seed


def run_case(case: Case, outputs: str = "") -> dict[str, Any]:
    """Injects, diagnoses, and says what was found; what raises is a result too."""
    import torch

    from quadlib.diagnosis import diagnose
    from quadlib.faults import FAULTS, LOOK_ALIKES
    from quadlib.faults.small import small_pipeline

    torch.set_num_threads(1)
    kind, name, source, seed = case
    result: dict[str, Any] = {
        "kind": kind,
        "name": name,
        "source": source,
        "seed": seed,
        "error": "",
    }
    try:
        pipeline = small_pipeline(source, seed, outputs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (FAULTS[name].inject if kind == "fault" else LOOK_ALIKES[name].change)(pipeline)
            subject = pipeline.subject()
            began = time.perf_counter()
            diagnosis = diagnose(subject)
    except Exception:
        return {
            **result,
            "error": traceback.format_exc(limit=-3),
            "seconds": 0.0,
            "roots": [],
            "folded": [],
            "raised": [],
        }
    alarms = [root for root in diagnosis.roots if root.severity != "note"]
    return {
        **result,
        "seconds": time.perf_counter() - began,
        "roots": [[root.code, root.severity, root.title] for root in diagnosis.roots],
        "alarms": [root.code for root in alarms],
        "folded": [item.code for root in diagnosis.roots for item in root.folded],
        "raised": [
            f"{label}: {reason}"
            for label, reason in diagnosis.not_run
            if reason.startswith("it raised")
        ],
    }


def judge(result: dict[str, Any]) -> dict[str, Any]:
    """Adds what was expected, whether anything was detected, and whether the first root is the
    right one.
    """
    from quadlib.faults import FAULTS

    fault = FAULTS[result["name"]]
    alarms = result.get("alarms", [])
    # a note is the right answer to what is no fault, and to what the evidence cannot decide
    codes = (
        [
            code
            for code, severity, _ in result["roots"]
            if severity == "note" and code in fault.expected()
        ]
        if fault.advice
        else alarms
    )
    first = codes[0] if codes else ""
    return {
        **result,
        "expected": list(fault.expected()),
        "exact": fault.exact,
        "detected": bool(codes),
        "first": first,
        "right": first in fault.expected() and not (fault.advice and alarms),
        "named": any(code in fault.expected() for code in [*codes, *result["folded"]]),
    }


def cases(arguments: argparse.Namespace) -> list[Case]:
    from quadlib.faults import FAULTS, LOOK_ALIKES

    sources = (
        [arguments.source] if arguments.source else ["mfeat"] if arguments.quick else list(SOURCES)
    )
    seeds = 1 if arguments.quick else arguments.seeds
    rounds = 2 if arguments.quick else HEALTHY_ROUNDS
    only = set(filter(None, arguments.only.split(",")))
    faults = [
        ("fault", name, source, seed)
        for name, source, seed in itertools.product(FAULTS, sources, range(seeds))
    ]
    healthy = [
        ("healthy", name, source, seed)
        for name, source, seed in itertools.product(LOOK_ALIKES, sources, range(rounds))
    ]
    kinds = {"faults": faults, "healthy": healthy, "all": faults + healthy}[arguments.kind]
    return [case for case in kinds if not only or case[1] in only]


def run_all(chosen: list[Case], processes: int) -> Iterable[dict[str, Any]]:
    if processes == 1:
        yield from map(run_case, chosen)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        # one data set stays with one process for as long as possible: its store is opened once
        yield from pool.map(
            run_case, sorted(chosen, key=lambda case: (case[2], case[3])), chunksize=4
        )


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates over all runs; the bound is the exact one of a binomial (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    faults = [judge(item) for item in results if item["kind"] == "fault"]
    healthy = [item for item in results if item["kind"] == "healthy"]
    alarmed = [item for item in healthy if item.get("alarms") or item["error"]]
    exact = [item for item in faults if item["exact"]]
    confusion = Counter(
        (item["name"], item["first"] or "nothing") for item in faults if not item["right"]
    )
    share = lambda items, name: sum(item[name] for item in items) / len(items) if items else None  # noqa: E731
    seconds = sorted(item["seconds"] for item in results)
    return {
        "faults": len({item["name"] for item in faults}),
        "fault_runs": len(faults),
        "detected": share(faults, "detected"),
        "root_top1": share(faults, "right"),
        "root_top1_exact": share(exact, "right"),
        "exact_runs": len(exact),
        "named": share(faults, "named"),
        "folded_per_run": sum(len(item["folded"]) for item in faults) / len(faults)
        if faults
        else None,
        "more_than_one_root": sum(len(item.get("alarms", [])) > 1 for item in faults),
        "healthy_runs": len(healthy),
        "false_alarms": len(alarmed),
        "false_alarm_rate_upper_95": float(
            beta.ppf(0.95, len(alarmed) + 1, len(healthy) - len(alarmed))
        )
        if healthy
        else None,
        "seconds_median": seconds[len(seconds) // 2],
        "seconds_most": seconds[-1],
        "errors": sum(bool(item["error"]) for item in results),
        "confusion": [
            {"fault": name, "answer": code, "runs": count}
            for (name, code), count in sorted(confusion.items())
        ],
        "rows": [_row(name, faults) for name in dict.fromkeys(item["name"] for item in faults)],
        "alarmed": [
            {
                "name": item["name"],
                "source": item["source"],
                "seed": item["seed"],
                "roots": item["roots"],
                "error": item["error"],
            }
            for item in alarmed
        ],
    }


def _row(name: str, faults: list[dict[str, Any]]) -> dict[str, Any]:
    from quadlib.faults import FAULTS

    own = [item for item in faults if item["name"] == name]
    return {
        "id": name,
        "stage": FAULTS[name].stage,
        "title": FAULTS[name].title,
        "occurrence": FAULTS[name].occurrence,
        "expected": " or ".join(FAULTS[name].expected()),
        "exact": FAULTS[name].exact,
        "runs": len(own),
        "detected": sum(item["detected"] for item in own),
        "right": sum(item["right"] for item in own),
        "answers": dict(Counter(item["first"] or "nothing" for item in own)),
        "folded": sum(len(item["folded"]) for item in own) / len(own),
        "seconds": sorted(item["seconds"] for item in own)[len(own) // 2],
    }


def page(report: dict[str, Any]) -> str:
    """A self-contained page: the figures, one row a fault, and every alarm on a healthy run."""

    def cells(values: Iterable[Any], tag: str = "td") -> str:
        return "".join(f"<{tag}>{html.escape(str(value))}</{tag}>" for value in values)

    percent = lambda value: "not measured" if value is None else f"{value:.1%}"  # noqa: E731
    figures = [
        ("faults x runs", f"{report['faults']} faults, {report['fault_runs']} runs"),
        ("detected", percent(report["detected"])),
        ("right root first", percent(report["root_top1"])),
        (
            "right root first, exact contracts",
            f"{percent(report['root_top1_exact'])} of {report['exact_runs']}",
        ),
        (
            "alarms on healthy runs",
            f"{report['false_alarms']} of {report['healthy_runs']}; rate below "
            f"{percent(report['false_alarm_rate_upper_95'])} (95 %)",
        ),
        (
            "seconds to the verdict",
            f"{report['seconds_median']:.1f} (median), {report['seconds_most']:.1f} (most)",
        ),
        *(
            (name.replace("_", " "), f"{value:.3g}")
            for name, value in report.get("costs", {}).items()
        ),
    ]
    rows = [
        (
            row["id"],
            row["stage"],
            row["title"],
            row["expected"],
            "exact" if row["exact"] else "statistical",
            row["runs"],
            row["detected"],
            row["right"],
            ", ".join(f"{code} x {count}" for code, count in row["answers"].items()),
            f"{row['folded']:.1f}",
            f"{row['seconds']:.1f}",
            row["occurrence"],
        )
        for row in report["rows"]
    ]
    heads = (
        "fault",
        "stage",
        "what was injected",
        "expected root",
        "kind",
        "runs",
        "detected",
        "right",
        "first roots",
        "folded",
        "seconds",
        "met at",
    )
    alarms = [
        (
            item["name"],
            item["source"],
            item["seed"],
            item["error"] or "; ".join(f"{code}: {title}" for code, _, title in item["roots"]),
        )
        for item in report["alarmed"]
    ]
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>The doctor's "
        "benchmark</title><style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem "
        "auto;max-width:90rem;padding:0 1rem}table{border-collapse:collapse;margin:1rem "
        "0}td,th{border-bottom:1px solid #ccc;padding:.25rem "
        ".6rem;text-align:left;vertical-align:top}</style><h1>The doctor's benchmark</h1><table>"
        + "".join(f"<tr>{cells([name], 'th')}{cells([value])}</tr>" for name, value in figures)
        + "</table><h2>Every fault</h2><table><tr>"
        + cells(heads, "th")
        + "</tr>"
        + "".join(f"<tr>{cells(row)}</tr>" for row in rows)
        + "</table><h2>Alarms on healthy runs</h2>"
        + (
            "<table>" + "".join(f"<tr>{cells(row)}</tr>" for row in alarms) + "</table>"
            if alarms
            else "<p>None.</p>"
        )
        + "</html>"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one seed, mfeat")
    parser.add_argument(
        "--only", default="", help="names of faults and look-alikes, separated by commas"
    )
    parser.add_argument("--kind", choices=("faults", "healthy", "all"), default="all")
    parser.add_argument("--source", choices=SOURCES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--folder",
        default="",
        help="where doctor.json and doctor.html go; outputs/bench by default",
    )
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    began = time.perf_counter()
    results = []
    for result in run_all(cases(arguments), arguments.processes):
        results.append(result)
        _print(result)
    report = {**summary(results), "wall_seconds": time.perf_counter() - began}
    if not arguments.quick and not arguments.only:
        from doctor_costs import costs

        report["costs"] = costs()
    print(
        "\n"
        + "\n".join(
            f"{name}: {value}" for name, value in report.items() if not isinstance(value, list)
        )
    )
    if not arguments.only:
        _write(report, results, arguments.folder)
    return 0 if not report["false_alarms"] and (report["root_top1"] or 1.0) >= 0.95 else 1


def _print(result: dict[str, Any]) -> None:
    answer = (
        " ".join(
            f"{code}" + ("" if severity != "note" else "(note)")
            for code, severity, _ in result["roots"]
        )
        or "nothing"
    )
    if result["kind"] == "fault":
        mark = "right" if judge(result)["right"] else "WRONG"
    else:
        mark = "ALARM" if result.get("alarms") or result["error"] else "silent"
    last = result["error"].strip().splitlines()[-1:] if result["error"] else result["raised"]
    print(
        f"{mark:<6} {result['name']:<24} {result['source']:<8} {result['seed']}  "
        f"{result['seconds']:5.1f} s  {answer}  folded {len(result['folded'])}  {'; '.join(last)}",
        flush=True,
    )


def _write(report: dict[str, Any], results: list[dict[str, Any]], given: str) -> None:
    from quadlib.files import outputs_folder, write_text

    folder = Path(given) if given else outputs_folder("") / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "doctor.json", json.dumps({**report, "results": results}, indent=1))
    write_text(folder / "doctor.html", page(report))
    print(f"\n{folder / 'doctor.html'}")


if __name__ == "__main__":
    sys.exit(main())
