"""The faults of the zoo through other tools, where they apply: trainproof on the training log, cleanlab on features and labels.

    python tests/bench/peers.py

Each tool lives in a virtual environment of its own under outputs/bench/peers, made on first use (the package index is needed then). A tool
detects a fault where it reports what it does not report on the same pipeline without the fault; it names the fault where that report is
listed for it in NAMES. Its alarms on the healthy look-alikes are counted in the same way. Writes outputs/bench/peers.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import warnings
from pathlib import Path
from typing import Any

PACKAGES = {"trainproof": ["trainproof"], "cleanlab": ["cleanlab[datalab]", "scikit-learn"]}
EPOCHS = 3
# which reports of a tool say what is wrong, and not only that something is
NAMES = {
    "cleanlab": {"label": ("L1", "L2"), "near_duplicate": ("D1", "D3", "S3"), "null": ("D6",), "non_iid": ("B5",),
                 "class_imbalance": ("S2",)},
    "trainproof": {"TP-ZERO-LR": ("O2",), "TP-NAN": ("D6", "P9"), "TP-NAN-GRAD": ("O7",), "TP-GRAD-SPIKE": ("O1",)},
}
CLEANLAB = """
import json, sys
import numpy as np
from pathlib import Path
from cleanlab import Datalab
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
found = {}
for path in sorted(Path(sys.argv[1]).glob("*.npz")):
    case = np.load(path)
    X, y = case["X"], np.unique(case["y"], return_inverse=True)[1]
    options = {"features": np.nan_to_num(X)}
    sizes = np.bincount(y)
    if len(sizes) > 1 and sizes.min() >= 5:
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
        options["pred_probs"] = cross_val_predict(model, options["features"], y, cv=StratifiedKFold(5), method="predict_proba")
    lab = Datalab(data={"y": y}, label_name="y", verbosity=0)
    try:
        lab.find_issues(**({**options, "features": X} if np.isfinite(X).all() else options))
        summary = lab.get_issue_summary()
        found[path.stem] = {row.issue_type: int(row.num_issues) for row in summary.itertuples()}
    except Exception as error:
        found[path.stem] = {"raised " + type(error).__name__: 1}
print(json.dumps(found))
"""


def export(folder: Path) -> list[tuple[str, str]]:
    """Writes NAME.jsonl (the log of a short training) and NAME.npz (features and labels of train) of every fault and look-alike."""
    import numpy as np
    import torch

    from quadlib.faults import FAULTS, LOOK_ALIKES
    from quadlib.faults.small import small_pipeline

    torch.set_num_threads(1)
    changes = {**{name: ("fault", item.inject) for name, item in FAULTS.items()},
               **{name: ("healthy", item.change) for name, item in LOOK_ALIKES.items()}}
    for name, (_, change) in changes.items():
        pipeline = small_pipeline("mfeat")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            change(pipeline)
            lines = _log(pipeline)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        rows = pipeline.store.table.rows("train")
        features = np.concatenate([np.asarray(array)[rows].reshape(len(rows), -1) for array in pipeline.store.arrays.values()], axis=1)
        np.savez(folder / f"{name}.npz", X=features, y=pipeline.store.table.frame["label"].to_numpy().astype(str)[rows])
    return [(name, kind) for name, (kind, _) in changes.items()]


def _log(pipeline: Any) -> list[dict[str, float]]:
    """Step, loss, gradient norm and learning rate of a few epochs, by the pipeline's own training step; what raises ends the log."""
    import torch

    subject, trainer = pipeline.subject(), pipeline.trainer
    lines: list[dict[str, float]] = []
    trainer.model.train(trainer.model.training)
    try:
        for epoch in range(EPOCHS):
            trainer.dataset.set_epoch(epoch)
            for batch in subject.loader:
                loss = float(subject.train_step(batch))
                gradients = [p.grad.norm() for p in trainer.model.parameters() if p.grad is not None]
                rate = trainer.optimiser.param_groups[0]["lr"]
                lines.append({"step": len(lines) + 1, "epoch": epoch, "loss": loss, "learning_rate": rate,
                              "grad_norm": float(torch.stack(gradients).norm()) if gradients else 0.0})
    except Exception as error:
        print(f"{pipeline.settings.source}: training ended after {len(lines)} steps: {type(error).__name__}")
    return lines


def environment(folder: Path, name: str) -> Path:
    """The tool's own environment; made and filled where it is not there."""
    place = folder / f"venv-{name}"
    if not (place / "ready").is_file():
        venv.create(place, with_pip=True, clear=True)
        subprocess.run([place / "bin" / "python", "-m", "pip", "install", "--quiet", *PACKAGES[name]], check=True)
        (place / "ready").touch()
    return place / "bin"


def trainproof(folder: Path, cases: list[tuple[str, str]]) -> dict[str, dict[str, int]]:
    command, found = environment(folder, "trainproof") / "trainproof", {}
    for name, _ in cases:
        arguments = [command, "epoch", folder / f"{name}.jsonl", "--format", "jsonl", "--json"]
        ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
        reports = json.loads(ended.stdout or "{}").get("reports", [])
        found[name] = {item["id"]: 1 for report in reports for item in report["findings"] if item["level"] in ("FAIL", "WARN")}
    return found


def cleanlab(folder: Path, cases: list[tuple[str, str]]) -> dict[str, dict[str, int]]:
    python = environment(folder, "cleanlab") / "python"
    ended = subprocess.run([python, "-W", "ignore", "-c", CLEANLAB, folder], capture_output=True, text=True, check=True)
    return json.loads(ended.stdout.strip().splitlines()[-1])


def judged(tool: str, found: dict[str, dict[str, int]], cases: list[tuple[str, str]]) -> dict[str, Any]:
    """What a tool reports beyond what it reports of the plain pipeline: of a count, half as much again and five more."""
    plain = found["plain"]
    extra = {name: [issue for issue, count in found[name].items() if count > (1.5 * plain[issue] + 5 if issue in plain else 0)]
             for name, _ in cases}
    faults, healthy = ([name for name, kind in cases if kind == wanted] for wanted in ("fault", "healthy"))
    named = [name for name in faults if any(name in NAMES[tool].get(issue, ()) for issue in extra[name])]
    return {"faults": len(faults), "detected": [name for name in faults if extra[name]], "named": named,
            "healthy_runs": len(healthy), "false_alarms": [name for name in healthy if extra[name]], "reports": extra, "plain": plain}


def main() -> int:
    from quadlib.files import outputs_folder, write_json

    folder = outputs_folder("") / "bench" / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    cases = export(folder)
    report = {name: judged(name, tool(folder, cases), cases) for name, tool in (("trainproof", trainproof), ("cleanlab", cleanlab))}
    write_json(folder.parent / "peers.json", report)
    for name, item in report.items():
        print(f"{name}: detected {len(item['detected'])} of {item['faults']} ({' '.join(item['detected'])}); named {len(item['named'])} "
              f"({' '.join(item['named'])}); alarms on {len(item['false_alarms'])} of {item['healthy_runs']} healthy runs "
              f"({' '.join(item['false_alarms'])})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
