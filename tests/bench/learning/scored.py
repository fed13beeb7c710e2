"""One run on one stand-in: its fused score beside its own views and plain classifiers."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from quadlib import KnnValidator, Run, Trainer, open_dataset
from quadlib.config import TrainSettings
from quadlib.evaluation.embed import embed
from quadlib.evaluation.metrics import macro_f1
from quadlib.evaluation.neighbours import knn_predict
from quadlib.training.restore import restore

COLLAPSED_PROGRESS = 0.02  # of the best epoch: nothing was learned
COLLAPSED_SPREAD = 0.01  # standard deviation of the cosines between recordings


@dataclass(frozen=True)
class Scored:
    """Macro-F1 on the test split of one run, and what it is to be read beside."""

    fused: float
    single: float  # best of the model's own views
    single_view: str
    val: float  # the figure by which settings are chosen
    weights: dict[str, float]  # the fusion's, mean over the recordings that have the view
    collapsed: bool
    flat_epochs: int  # on the plateau


def score_run(name: str, seed: int, **changes: Any) -> Scored:
    """Trains on a registered source with the defaults but for `changes`, in a folder of its own."""
    with tempfile.TemporaryDirectory() as outputs:
        settings = TrainSettings(
            **{"source": name, "seed": seed, "outputs": outputs, "run": "r", "device": "cpu"}
            | changes
        )
        run, dataset = Run.create(settings), open_dataset(settings)
        result = Trainer(dataset, settings, run, validator=KnnValidator(settings)).fit()
        model, table = restore(run).model, dataset.table
        gallery, queries = (embed(model, dataset, table.rows(split)) for split in ("train", "test"))
        epochs = [line for line in run.history() if line["kind"] == "epoch"]
    progress = {line["epoch"]: line["progress"] for line in epochs}
    names = list(table.modalities)

    def knn(known: np.ndarray, asked: np.ndarray, has: np.ndarray, shown: np.ndarray) -> float:
        predictions = knn_predict(asked[shown], known[has], gallery.labels[has], 5)
        return macro_f1(queries.labels[shown], predictions, len(table.class_names))

    every = np.ones(len(gallery), bool), np.ones(len(queries), bool)
    views = {
        view: knn(
            gallery.by_modality[:, m],
            queries.by_modality[:, m],
            gallery.present[:, m],
            queries.present[:, m],
        )
        for m, view in enumerate(names)
    }
    single = max(views, key=lambda view: views[view])
    weights = [queries.weights[queries.present[:, m], m].mean() for m in range(len(names))]
    spread = float(np.std(queries.fused @ queries.fused.T))
    return Scored(
        knn(gallery.fused, queries.fused, *every),
        views[single],
        single,
        result.best_value,
        dict(zip(names, map(float, weights), strict=True)),
        progress[result.best_epoch] < COLLAPSED_PROGRESS or spread < COLLAPSED_SPREAD,
        sum(value < COLLAPSED_PROGRESS for value in progress.values()),
    )


def score_baselines(name: str, seed: int) -> dict[str, float]:
    """kNN, logistic regression and extra trees on all columns side by side, an absent view at its
    mean; fitted on the same training recordings.
    """
    with tempfile.TemporaryDirectory() as outputs:
        settings = TrainSettings(source=name, seed=seed, outputs=outputs)
        dataset = open_dataset(settings)
        table = dataset.table
        columns, codes = {}, {}
        for split in ("train", "test"):
            [batch] = dataset.batches(table.rows(split), len(table))
            columns[split] = np.concatenate([part.numpy() for part in batch.inputs.values()], 1)
            codes[split] = batch.labels.numpy()
    models = {
        "kNN": KNeighborsClassifier(5),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        "extra trees": ExtraTreesClassifier(300, random_state=seed),
    }
    return {
        label: macro_f1(
            codes["test"],
            model.fit(columns["train"], codes["train"]).predict(columns["test"]),
            len(table.class_names),
        )
        for label, model in models.items()
    }
