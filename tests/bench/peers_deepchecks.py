"""deepchecks over the exported cases of a folder, in its own environment; run by peers.py. Prints a
JSON object: reports of every case.

A report is a condition of its two tabular suites, as they come, that failed or warned. The columns
are the features as they are stored, and the index is the sample's id. Beyond the suites, in favour
of the tool: missing values are counted, duplicates are also sought without that id, and leakage of
an index also with the session and with the recording as the index.
"""

import json
import logging
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from deepchecks.tabular import Dataset
from deepchecks.tabular.checks import DataDuplicates, IndexTrainTestLeakage, PercentOfNulls
from deepchecks.tabular.suites import data_integrity, train_test_validation

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)


def datasets(case, index):
    """Train and held-out rows, with one of the id columns as their index."""
    for split in ("", "_test"):
        frame = pd.DataFrame(case[f"X{split}"])
        frame.columns = [f"feature {number}" for number in range(frame.shape[1])]
        frame = frame.assign(label=case[f"y{split}"], **{index: case[f"{index}{split}"]})
        yield Dataset(
            frame, label="label", index_name=index, label_type="multiclass", cat_features=[]
        )


def reports(case):
    train, test = datasets(case, "sample_id")
    nulls = PercentOfNulls().add_condition_percent_of_nulls_not_greater_than()
    duplicates = DataDuplicates(ignore_columns=["sample_id"]).add_condition_ratio_less_or_equal()
    results = [
        *data_integrity().add(nulls).add(duplicates).run(train).results,
        *train_test_validation().run(train, test).results,
    ]
    found = {}
    for result in results:
        for condition in getattr(result, "conditions_results", []):
            if condition.category.value in ("FAIL", "WARN"):
                found[type(result.check).__name__] = 1
    for index in ("group", "recording"):
        if index in case:
            leakage = (
                IndexTrainTestLeakage()
                .add_condition_ratio_less_or_equal()
                .run(*datasets(case, index))
            )
            if not leakage.passed_conditions():
                found[f"IndexTrainTestLeakage: {index}"] = 1
    return found


found, known = {}, {}
for path in sorted(Path(sys.argv[1]).glob("*.npz")):
    started, case = time.perf_counter(), dict(np.load(path))
    # faults of a later stage leave the data as they are: the same data are asked about once
    content = tuple(
        (name, array.dtype.str, array.shape, array.tobytes())
        for name, array in sorted(case.items())
    )
    if content not in known:
        try:
            known[content] = reports(case)
        except Exception as error:
            known[content] = {"raised " + type(error).__name__: 1}
            print(path.stem, error, file=sys.stderr)
        print(f"{path.stem}: {time.perf_counter() - started:.1f} s", file=sys.stderr)
    found[path.stem] = known[content]
print(json.dumps(found))
