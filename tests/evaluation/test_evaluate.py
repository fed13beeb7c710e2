import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from quadlib.config import EvaluateSettings, RunSettings, read_settings
from quadlib.evaluation.embed import EmbeddingSet, embed
from quadlib.evaluation.evaluate import evaluate_embeddings
from quadlib.evaluation.leakage import session_leakage
from quadlib.evaluation.maps import embedding_map
from quadlib.evaluation.record import Evaluation
from quadlib.evaluation.score import Score
from quadlib.evaluation.subsets import encode, score_subsets
from quadlib.files import FileError
from quadlib.runs import Run
from tests.helpers.flips import silent


def settings(**values) -> EvaluateSettings:
    return read_settings(EvaluateSettings, {"resamples": 50, **values})


def evaluated(model, dataset, **values) -> Evaluation:
    table, chosen = dataset.table, settings(**values)
    train, test = table.rows("train"), table.rows(chosen.eval_split)
    return evaluate_embeddings(
        embed(model, dataset, train),
        embed(model, dataset, test),
        table,
        chosen,
        subsets=score_subsets(
            model, encode(model, dataset, train), encode(model, dataset, test), table, chosen
        ),
        run="r1",
    )


def test_every_figure_is_there(model, dataset) -> None:
    result = evaluated(model, dataset)
    assert set(result.scores) == {
        "accuracy",
        "macro_f1",
        "precision_at_1",
        "r_precision",
        "map_at_r",
        "mrr",
        "auroc",
        "auprc",
        "ece",
        "nc1",
        "nc2",
        "modality_to_modality_map_at_r",
        "one_hidden_accuracy",
        "alignment",
        "uniformity",
        "effective_rank",
    }
    assert all(score.defined for score in result.scores.values())
    for name in ("accuracy", "macro_f1", "map_at_r", "auroc", "auprc"):
        score = result.scores[name]
        assert score.low <= score.value <= score.high
    assert (result.n_gallery, result.n_queries) == (45, 30)
    assert np.sum(result.confusion) == 30 and len(result.subsets) == 7 and len(result.worst) == 10
    assert (
        set(result.by_modality)
        == set(result.fusion_weights)
        == set(result.shapley)
        == {"fou", "kar", "mor"}
    )
    for score in result.per_class:
        assert score.support == 10 and score.f1.low <= score.f1.value <= score.f1.high
    margins = [recording.margin for recording in result.worst]
    assert margins == sorted(margins)
    assert result.best_single[0] in ("fou", "kar")
    assert result.scores["macro_f1"].value == pytest.approx(result.subsets[-1].macro_f1.value)


def test_headline_names_the_rivals(model, dataset) -> None:
    result = evaluated(model, dataset)
    scores = result.scores | {"macro_f1": Score(0.862, 0.81, 0.9)}
    alone = [
        replace(subset, macro_f1=Score(0.5 if len(subset.modalities) == 1 else 0.9))
        for subset in result.subsets
    ]
    own = {name: {"macro_f1": Score(0.63 if name == "kar" else 0.2)} for name in result.modalities}
    points = [
        replace(baseline, macro_f1=Score(0.41)) if baseline.name == "set-points" else baseline
        for baseline in result.baselines
    ]
    shown = replace(result, scores=scores, subsets=alone, by_modality=own, baselines=points)
    assert shown.headline() == "macro-F1 .862 [.81, .90] | set-points .41 | best single .63"
    unknown = replace(
        shown, baselines=[replace(shown.baselines[0], macro_f1=Score(0.17))], modalities=["kar"]
    )
    assert unknown.headline() == "macro-F1 .862 [.81, .90] | majority .17"


def test_written_and_read_back(model, dataset, tmp_path) -> None:
    run = Run.create(read_settings(RunSettings, {"run": "r1", "outputs": str(tmp_path)}))
    with pytest.raises(FileError, match="evaluate the run first"):
        Evaluation.read(run)
    result = evaluated(model, dataset)
    result.write(run.folder)
    back = Evaluation.read(run)
    assert back == result and back.headline() == result.headline()
    assert set(back.arrays) == {
        "fused",
        "by_modality",
        "weights",
        "present",
        "rows",
        "labels",
        "predictions",
        "split",
        "map",
        "sample_id",
        "group",
    }
    for name, array in result.arrays.items():
        assert (back.arrays[name] == array).all() and len(array) == 75
    assert (back.arrays["split"] == "test").sum() == 30
    text = run.path("evaluation.json").read_text()
    assert "NaN" not in text and "arrays" not in json.loads(text)
    for name in ("evaluation.json", "embeddings.npz"):
        assert silent(run.path(name), lambda: Evaluation.read(run), FileError, count=50) == []
    arrays = run.path("embeddings.npz").read_bytes()
    replace(result, arrays=result.arrays | {"rows": result.arrays["rows"][::-1]}).write(run.folder)
    run.path("embeddings.npz").write_bytes(arrays)
    with pytest.raises(FileError, match="is not what evaluation.json was written with"):
        Evaluation.read(run)
    run.path("embeddings.npz").unlink()
    with pytest.raises(FileError, match=r"embeddings.npz cannot be read(?s:.*)quadlib run 04"):
        Evaluation.read(run)
    run.path("evaluation.json").write_text('{"run": "r1"}')
    with pytest.raises(FileError, match="Make it again with this version"):
        Evaluation.read(run)


def test_same_seed_same_files(model, dataset, tmp_path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        evaluated(model, dataset, seed=5).write(tmp_path / name)
    for file in ("evaluation.json", "embeddings.npz"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize(
    "split, words", [("empty", "holds no recordings"), ("one class", "one class only, overlap")]
)
def test_a_split_that_cannot_be_scored(
    model, tmp_path, split, words, make_table, as_dataset
) -> None:
    table = make_table()
    keep = (table.frame["split"] != "test") | (
        (table.codes == 2) if split == "one class" else False
    )
    table = table.take(np.flatnonzero(keep))
    dataset = as_dataset(table)
    gallery = embed(model, dataset, table.rows("train"))
    queries = (
        gallery.take(np.zeros(0, dtype=np.int64))
        if split == "empty"
        else embed(model, dataset, table.rows("test"))
    )
    subsets = (
        []
        if split == "empty"
        else score_subsets(
            model,
            *(encode(model, dataset, table.rows(name)) for name in ("train", "test")),
            table,
            settings(),
        )
    )
    result = evaluate_embeddings(gallery, queries, table, settings(), subsets=subsets)
    for name in ("accuracy", "macro_f1", "map_at_r", "mrr", "modality_to_modality_map_at_r"):
        assert result.scores[name].value is None and words in result.scores[name].reason
    assert "AUROC" in result.scores["auroc"].reason
    assert result.headline().startswith("macro-F1 undefined: the split holds")
    assert (
        all(not score.defined for score in result.shapley.values()) and words in result.leakage.text
    )
    result.write(tmp_path)


def circle(degrees: list[float]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def embedding_set(fused: np.ndarray, labels: list[int], rows: np.ndarray) -> EmbeddingSet:
    ones = np.ones((len(rows), 3))
    return EmbeddingSet(
        fused,
        np.repeat(fused[:, None], 3, axis=1),
        (ones / 3).astype(np.float32),
        ones > 0,
        np.array(labels),
        rows,
    )


def test_anomaly_scores_from_a_gallery_of_good_recordings_alone(table) -> None:
    gallery = embedding_set(circle([0, 5, 10, 15]), [0] * 4, np.arange(4))
    queries = embedding_set(
        circle([3, 8, 60, 70, 90]), [0, 0, 1, 1, 2], np.array([10, 11, 40, 41, 70])
    )
    result = evaluate_embeddings(gallery, queries, table, settings())
    assert result.scores["auroc"].value == result.scores["auprc"].value == 1
    assert "the gallery holds one class only, good" in result.scores["macro_f1"].reason
    assert (
        result.worst[0].margin is None and result.worst[-1].margin is not None
    )  # classes that the gallery lacks come first


def test_shared_sessions_are_noted(model, table, as_dataset) -> None:
    flattering = table.with_columns(split=np.where(np.arange(len(table)) % 2, "train", "test"))
    result = evaluated(model, as_dataset(flattering))
    assert any("in both train and test" in note for note in result.notes)
    assert 0 < result.shared_sessions == result.sessions
    honest = evaluated(model, as_dataset(table))
    tested = table.frame["group"][table.rows("test")]
    assert (honest.sessions, honest.shared_sessions) == (tested.nunique(), 0)
    assert not any("in both" in note or "chosen on val" in note for note in honest.notes)
    assert any(
        "chosen on val" in note
        for note in evaluated(model, as_dataset(table), eval_split="val").notes
    )


def test_a_random_split_recognises_sessions() -> None:
    # Each evaluated session lies beside training recordings of the other class: only its own
    # session tells its class.
    gallery = embedding_set(circle([0, 1, 90, 91]), [0, 0, 1, 1], np.arange(4))
    queries = embedding_set(circle([20, 21, 22, 70, 71, 72]), [1, 1, 1, 0, 0, 0], np.arange(4, 10))
    predictions, groups = np.array([0, 0, 0, 1, 1, 1]), np.repeat(["a", "b"], 3)
    leakage = session_leakage(
        gallery, queries, predictions, groups, ["good", "spatter"], neighbours=2
    )
    assert leakage.random_split.value == 1 and leakage.grouped_split.value == 0
    assert (
        "macro-F1 would read 1.000 instead of .000: 100.0 points for recognising the session"
        in leakage.text
    )
    lone = session_leakage(gallery, queries, predictions, np.arange(6), ["good", "spatter"])
    assert lone.random_split.value is None and "only one of its session" in lone.text


def test_maps() -> None:
    random = np.random.default_rng(0)
    few, many = random.normal(size=(20, 8)), random.normal(size=(60, 8))
    assert embedding_map(few)[1] == "PCA" and embedding_map(many)[1] == "t-SNE"
    more = np.random.default_rng(0).normal(size=(1200, 3)) + 9 * np.eye(3)[np.arange(1200) % 3]
    places, method = embedding_map(more)
    assert method == "t-SNE of 1,000, the others between them" and places.shape == (1200, 2)
    nearest = NearestNeighbors(n_neighbors=2).fit(places).kneighbors(places)[1][:, 1]
    assert (nearest % 3 == np.arange(1200) % 3).mean() > 0.98
    twice = np.concatenate([more[:700], more[:700]])  # t-SNE places one of most pairs alone
    places = embedding_map(twice)[0]
    apart = np.linalg.norm(places[:700] - places[700:], axis=1)
    assert np.median(apart) < 1e-3 * np.ptp(places)
    assert (embedding_map(many, 3)[0] == embedding_map(many, 3)[0]).all()
    for rows in (np.zeros((0, 8)), np.ones((5, 8))):
        coordinates, method = embedding_map(rows)
        assert (
            coordinates.shape == (len(rows), 2)
            and not coordinates.any()
            and method.startswith("none")
        )
