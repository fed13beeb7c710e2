"""The faults of the zoo through other tools, where they apply: trainproof on the training log,
cleanlab on features and labels of train, deepchecks on those of train and val, and traincheck on
the traces of a few training steps.

    python tests/bench/peers.py [trainproof] [cleanlab] [deepchecks] [traincheck]

Each tool lives in a virtual environment of its own under outputs/bench/peers, made on first use
(the package index is needed then). A tool detects a fault where it reports what it does not report
on the same pipeline without the fault; it names the fault where that report is listed for it in
NAMES. Its alarms on the healthy look-alikes are counted in the same way. Writes
outputs/bench/peers.json, where tools that are not asked for keep what they reported before.

traincheck takes most of a minute a case, so it is shown the stages and faults in TRACED alone (of
data and labels its traces hold no more than hashes), and what it found of a case is kept in
outputs/bench/peers/traincheck: remove that folder to ask it again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import warnings
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

PACKAGES = {
    "trainproof": ["trainproof"],
    "cleanlab": ["cleanlab[datalab]", "scikit-learn"],
    # its last release is of 2024 and limits nothing upwards: it gets the packages of its time
    "deepchecks": [
        "deepchecks==0.19.1",
        "pandas<2.2",
        "numpy<2",
        "scikit-learn<1.4",
        "setuptools<81",
    ],
    "traincheck": ["traincheck==0.2.0"],
}
EPOCHS = 3
TRACED, REFERENCE_SEEDS, STEPS = ("model", "loss", "optimiser", "checkpoint", "E3"), (1, 2, 3), 3
# which reports of a tool, as shell patterns, say what is wrong, and not only that something is
NAMES = {
    "deepchecks": {
        "IsSingleValue": ("S1", "M4"),
        "PercentOfNulls": ("D6",),
        "MixedNulls": ("D6",),
        "DataDuplicates": ("D1", "D3", "S3"),
        "ConflictingLabels": ("L1", "L2", "L4"),
        "IdentifierLabelCorrelation": ("L4",),
        "DatasetsSizeComparison": ("S1",),
        "NewLabelTrainTest": ("S1", "S2", "L4", "L6", "D2"),
        "LabelDrift": ("S1", "S2", "L6"),
        "FeatureDrift": ("D1", "D4", "M4"),
        "MultivariateDrift": ("D4",),
        "FeatureLabelCorrelationChange": ("L6", "S4", "S5"),
        "TrainTestSamplesMix": ("S3",),
        "IndexTrainTestLeakage": ("S3",),
        "IndexTrainTestLeakage: group": ("S3", "S4"),
        "IndexTrainTestLeakage: recording": ("S4", "S5"),
    },
    # the texts of violated invariants
    "traincheck": {
        "* changes Parameter*": ("O2", "O4", "O7", "N1", "N2", "N3"),
        "*.step() always *": ("O4", "O7"),
        "*always * when *.step()*": ("O4", "O7"),
        "*zero_grad*": ("O9", "O4"),
        "*normalize*": ("P1", "P2"),
        "*vector_norm*": ("P1", "P2"),
        "*dtype*": ("P9",),
        "*Dropout*": ("E3", "N5"),
        "*LayerNorm*": ("N5", "P2"),
        "*load_state_dict*": ("C1", "C3"),
        "*init.*": ("N4", "N6"),
        "*reset_parameters*": ("N4", "N6"),
        "*requires_grad*": ("N1", "N3"),
        "*is_leaf*": ("N3",),
        "*detach*": ("N3",),
        "*lr_scheduler*": ("O5",),
        "*LR.step*": ("O5",),
        "*scaler*": ("O7",),
        "*autocast*": ("P9",),
        "*DataLoader*": ("O9", "O10"),
        "*distributed*": ("O10",),
    },
    "cleanlab": {
        "label": ("L1", "L2"),
        "near_duplicate": ("D1", "D3", "S3"),
        "null": ("D6",),
        "non_iid": ("B5",),
        "class_imbalance": ("S2",),
    },
    "trainproof": {
        "TP-ZERO-LR": ("O2",),
        "TP-NAN": ("D6", "P9"),
        "TP-NAN-GRAD": ("O7",),
        "TP-GRAD-SPIKE": ("O1",),
    },
}


def export(folder: Path) -> list[tuple[str, str]]:
    """Writes NAME.jsonl, the log of a short training, and NAME.npz, the data of train and val, of
    every fault and look-alike.
    """
    import numpy as np
    import torch

    from quadlib.faults import FAULTS, LOOK_ALIKES
    from quadlib.faults.small import small_pipeline

    torch.set_num_threads(1)
    changes = {
        **{name: ("fault", item.inject) for name, item in FAULTS.items()},
        **{name: ("healthy", item.change) for name, item in LOOK_ALIKES.items()},
    }
    for name, (_, change) in changes.items():
        pipeline = small_pipeline("mfeat")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            change(pipeline)
            lines = _log(pipeline)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        table, content = pipeline.store.table, {}
        for split, suffix in (("train", ""), ("val", "_test")):
            rows = table.rows(split)
            features = [
                np.asarray(array)[rows].reshape(len(rows), -1)
                for array in pipeline.store.arrays.values()
            ]
            content[f"X{suffix}"] = np.concatenate(features, axis=1)
            content[f"y{suffix}"] = table.codes[rows]
            content |= {
                f"{column}{suffix}": table.frame[column].to_numpy().astype(str)[rows]
                for column in ("sample_id", "group", "recording")
                if column in table.frame
            }
        np.savez(folder / f"{name}.npz", **content)
    return [(name, kind) for name, (kind, _) in changes.items()]


def _log(pipeline: Any) -> list[dict[str, float]]:
    """Step, loss, gradient norm and learning rate of a few epochs, by the pipeline's own training
    step; what raises ends the log.
    """
    import torch

    subject, trainer = pipeline.subject(), pipeline.trainer
    lines: list[dict[str, float]] = []
    trainer.model.train(trainer.model.training)
    torch.manual_seed(0)
    try:
        for epoch in range(EPOCHS):
            trainer.dataset.set_epoch(epoch)
            for batch in subject.loader:
                loss = float(subject.train_step(batch))
                gradients = [
                    p.grad.norm() for p in trainer.model.parameters() if p.grad is not None
                ]
                rate = trainer.optimiser.param_groups[0]["lr"]
                lines.append(
                    {
                        "step": len(lines) + 1,
                        "epoch": epoch,
                        "loss": loss,
                        "learning_rate": rate,
                        "grad_norm": float(torch.stack(gradients).norm()) if gradients else 0.0,
                    }
                )
    except Exception as error:
        print(
            f"{pipeline.settings.source}: training ended after {len(lines)} steps: "
            f"{type(error).__name__}"
        )
    return lines


def environment(folder: Path, name: str) -> Path:
    """The tool's own environment; made and filled where it is not there. traincheck's sees the
    project's packages, which it runs.
    """
    place = folder / f"venv-{name}"
    if not (place / "ready").is_file():
        venv.create(place, with_pip=True, clear=True)
        if name == "traincheck":
            paths = [sysconfig.get_path("purelib"), str(Path(__file__).parents[2])]
            next(place.glob("lib/python*/site-packages")).joinpath("project.pth").write_text(
                "\n".join(paths) + "\n"
            )
        subprocess.run(
            [place / "bin" / "python", "-m", "pip", "install", "--quiet", *PACKAGES[name]],
            check=True,
        )
        (place / "ready").touch()
    return place / "bin"


def trainproof(folder: Path, cases: list[tuple[str, str]]) -> dict[str, dict[str, int]]:
    command, found = environment(folder, "trainproof") / "trainproof", {}
    for name, _ in cases:
        arguments = [command, "epoch", folder / f"{name}.jsonl", "--format", "jsonl", "--json"]
        ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
        reports = json.loads(ended.stdout or "{}").get("reports", [])
        found[name] = {
            item["id"]: 1
            for report in reports
            for item in report["findings"]
            if item["level"] in ("FAIL", "WARN")
        }
    return found


def cleanlab(folder: Path, cases: list[tuple[str, str]]) -> dict[str, dict[str, int]]:
    return _told(folder, "cleanlab")


def deepchecks(folder: Path, cases: list[tuple[str, str]]) -> dict[str, dict[str, int]]:
    return _told(folder, "deepchecks")


def _told(folder: Path, name: str) -> dict[str, dict[str, int]]:
    """What peers_NAME.py prints of the exported cases, in the tool's environment."""
    script = Path(__file__).with_name(f"peers_{name}.py")
    arguments = [environment(folder, name) / "python", "-W", "ignore", script, folder]
    ended = subprocess.run(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
    )
    return json.loads(ended.stdout.strip().splitlines()[-1])


def traincheck(folder: Path, cases: list[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Violated invariants, which were inferred from the plain pipeline with other seeds."""
    from quadlib.faults import FAULTS

    tools, place = environment(folder, "traincheck"), folder / "traincheck"
    place.mkdir(exist_ok=True)
    # the collector writes beside the script
    script, invariants, found = (
        shutil.copy(Path(__file__).with_name("peers_traced.py"), place),
        place / "invariants.json",
        {},
    )

    def run(tool: str, *arguments: Any, case: str = "") -> int:
        given = {**os.environ, "PEERS_CASE": f"{case} {STEPS}", "OMP_NUM_THREADS": "1"}
        with (place / "log.txt").open("a") as log:
            return subprocess.run(
                [tools / f"traincheck-{tool}", *arguments],
                cwd=place,
                env=given,
                stdout=log,
                stderr=log,
            ).returncode

    def collect(name: str, seed: int) -> Path:
        traces = place / f"{name}-{seed}"
        shutil.rmtree(traces, ignore_errors=True)
        if run(
            "collect",
            "-p",
            script,
            "--models-to-track",
            "model",
            "--model-tracker-style",
            "subclass",
            "--output-dir",
            traces,
            case=f"{name} {seed}",
        ):
            print(f"traincheck: the collected run of {name} ended early, see {place / 'log.txt'}")
        return traces

    if not invariants.is_file() and run(
        "infer", "-f", *(collect("plain", seed) for seed in REFERENCE_SEEDS), "-o", invariants
    ):
        raise RuntimeError(f"traincheck inferred nothing: {place / 'log.txt'} says why")
    for name in (
        name for name, kind in cases if kind == "healthy" or {name, FAULTS[name].stage} & {*TRACED}
    ):
        known = place / f"{name}.json"
        if not known.is_file():
            traces = collect(name, 0)
            failed = run(
                "check", "-f", traces, "-i", invariants, "-o", place / "checked", "--no-html-report"
            )
            summary = (
                {}
                if failed
                else json.loads(
                    (place / "checked" / traces.name / "violations_summary.json").read_text()
                )
            )
            reports = (
                {"raised": 1}
                if failed
                else {item["display_name"]: 1 for item in summary["violations"]}
            )
            known.write_text(json.dumps(reports))
            shutil.rmtree(traces)
            shutil.rmtree(place / "checked", ignore_errors=True)
        found[name] = json.loads(known.read_text())
    return found


def judged(
    tool: str, found: dict[str, dict[str, int]], cases: list[tuple[str, str]]
) -> dict[str, Any]:
    """What a tool reports beyond what it reports of the plain pipeline: of a count, half as much
    again and five more.
    """
    plain = found["plain"]
    extra = {
        name: [
            issue
            for issue, count in found[name].items()
            if count > (1.5 * plain[issue] + 5 if issue in plain else 0)
        ]
        for name, _ in cases
        if name in found
    }
    faults, healthy = (
        [name for name, kind in cases if kind == wanted and name in found]
        for wanted in ("fault", "healthy")
    )
    named = [
        name
        for name in faults
        if any(
            name in listed and fnmatchcase(issue, pattern)
            for issue in extra[name]
            for pattern, listed in NAMES[tool].items()
        )
    ]
    return {
        "faults": len(faults),
        "detected": [name for name in faults if extra[name]],
        "named": named,
        "healthy_runs": len(healthy),
        "false_alarms": [name for name in healthy if extra[name]],
        "reports": extra,
        "plain": plain,
    }


def main() -> int:
    from quadlib.files import outputs_folder, write_json

    folder = outputs_folder("") / "bench" / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    tools = {
        "trainproof": trainproof,
        "cleanlab": cleanlab,
        "deepchecks": deepchecks,
        "traincheck": traincheck,
    }
    asked, place, cases = sys.argv[1:] or list(tools), folder.parent / "peers.json", export(folder)
    report = {name: judged(name, tools[name](folder, cases), cases) for name in asked}
    write_json(place, {**(json.loads(place.read_text()) if place.is_file() else {}), **report})
    for name, item in report.items():
        print(
            f"{name}: detected {len(item['detected'])} of {item['faults']} "
            f"({' '.join(item['detected'])}); named {len(item['named'])} "
            f"({' '.join(item['named'])}); alarms on {len(item['false_alarms'])} of "
            f"{item['healthy_runs']} healthy runs ({' '.join(item['false_alarms'])})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
