"""cleanlab over the exported cases of a folder, in its own environment; run by peers.py. Prints a
JSON object: issues of every case.
"""

import json
import sys
from pathlib import Path

import numpy as np
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
        options["pred_probs"] = cross_val_predict(
            model, options["features"], y, cv=StratifiedKFold(5), method="predict_proba"
        )
    lab = Datalab(data={"y": y}, label_name="y", verbosity=0)
    try:
        lab.find_issues(**({**options, "features": X} if np.isfinite(X).all() else options))
        summary = lab.get_issue_summary()
        found[path.stem] = {row.issue_type: int(row.num_issues) for row in summary.itertuples()}
    except Exception as error:
        found[path.stem] = {"raised " + type(error).__name__: 1}
print(json.dumps(found))
