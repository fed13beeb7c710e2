"""A user's CSV, from its settings to the scores: the class that is no defect, and the columns that
say how a recording was made.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quadlib import KnnValidator, Run, Trainer, evaluate, open_dataset
from quadlib.config import TrainSettings, read_settings
from quadlib.config.settings import EvaluateSettings
from quadlib.data.samples import TableError


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """40 sessions of 4 recordings of 3 classes; the operator tells the class in most of them."""
    folder = tmp_path_factory.mktemp("parts")
    random = np.random.default_rng(0)
    rows = []
    for number in range(160):
        code, session = number % 3, number // 4
        for view in ("left", "right"):
            np.save(folder / f"{view}{number}.npy", random.normal(2 * code, 1, 5).astype("f4"))
        rows.append(
            {
                "sample_id": f"p{number}",
                "label": ["torn", "whole", "dented"][code],
                "group": f"s{session}",
                "left": f"left{number}.npy",
                "right": f"right{number}.npy",
                "operator": ["ann", "bo", "cy"][code if number % 5 else 0],
                "oven_c": 180 + number % 2,
            }
        )
    pd.DataFrame(rows).to_csv(folder / "parts.csv", index=False)
    return folder / "parts.csv"


def settings_of(path, **changes):
    asked = {
        "source": "table",
        "path": str(path),
        "information": ["operator", "oven_c"],
        "normal_class": "whole",
        "confounds": ["operator", "oven_c"],
        "outputs": str(path.parent / "outputs"),
        "epochs": 2,
        "width": 16,
    }
    return read_settings(TrainSettings, asked | changes)


def test_from_a_csv_to_alarm_scores_and_a_confound_baseline(path):
    settings = settings_of(path, run="parts")
    run = Run.create(settings)
    Trainer(open_dataset(settings), settings, run, validator=KnnValidator(settings)).fit()
    found = evaluate(run, EvaluateSettings(resamples=50))
    assert found.normal_class == "whole"
    for area in ("auroc", "auprc"):
        score = found.scores[area]
        assert score.low <= score.value <= score.high
    by_name = {item.name: item for item in found.baselines}
    assert by_name["confounds"].columns == ("operator", "oven_c")
    assert by_name["confounds"].macro_f1.value > 0.7 > by_name["majority"].macro_f1.value
    # asked for another class and another column, the same run answers for these
    other = evaluate(run, EvaluateSettings(resamples=50, normal_class="torn", confounds=["oven_c"]))
    by_name = {item.name: item for item in other.baselines}
    assert other.normal_class == "torn" and by_name["confounds"].macro_f1.value < 0.5
    assert other.scores["auroc"].value != found.scores["auroc"].value


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"normal_class": "hole"}, "no class 'hole'; the classes are dented, torn, whole"),
        ({"confounds": ["operater"]}, "no column 'operater'; did you mean 'operator'?"),
        ({"confounds": ["left"]}, "'left' is an input or the truth"),
    ],
)
def test_a_role_that_the_csv_does_not_have_is_refused(path, changes, said):
    with pytest.raises(TableError, match=said.replace("?", r"\?")):
        open_dataset(settings_of(path, **changes))
