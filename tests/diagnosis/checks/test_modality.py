from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from steps import step_of
from torch import nn

from quadlib.config import TrainSettings
from quadlib.data.dataset import make_loader
from quadlib.data.samples import Modality, SampleTable
from quadlib.diagnosis import Subject, diagnose
from quadlib.loss import SupConLoss
from quadlib.runs import Run
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer
from quadlib.training.watcher import subject_of

NAMES = ("a", "b", "c", "d")


def codes(diagnosis, letter="M"):
    return [
        item.code
        for item in diagnosis.findings
        if item.code[3] == letter and item.severity != "note"
    ]


def of(diagnosis, code):
    return [item for item in diagnosis.findings if item.code == code]


def vectors(n=160, classes=4, shared=1.0, seed=0):
    """Four modalities of one hidden cause: linked to the label, and to each other within a class
    where `shared` is above 0.
    """
    random = np.random.default_rng(seed)
    y = np.arange(n) % classes
    cause = np.eye(classes)[y] * 3 + shared * random.normal(size=(n, classes))
    return y, {
        name: (cause @ random.normal(size=(classes, 8)) + 0.3 * random.normal(size=(n, 8))).astype(
            np.float32
        )
        for name in NAMES
    }


def table_of(y, arrays, pointers=None):
    columns = {name: np.arange(len(y)) for name in arrays} | (pointers or {})
    ids = [f"r{row:03d}" for row in range(len(y))]
    frame = pd.DataFrame(
        {
            "sample_id": ids,
            "label": [f"k{code}" for code in y],
            "group": ids,
            "split": "train",
            **columns,
        }
    )
    kinds = {
        name: Modality("vector" if array.ndim == 2 else "series", array.shape[1:])
        for name, array in arrays.items()
    }
    return SampleTable(frame, kinds, arrays=arrays)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    y, arrays = vectors(n=200)
    path = tmp_path_factory.mktemp("table") / "features.npz"
    np.savez(path, y=y, group=np.arange(200) // 2, **arrays)
    return path


@pytest.fixture
def trainer(features, tmp_path):
    settings = TrainSettings(
        source="table",
        path=str(features),
        outputs=str(tmp_path),
        run="r",
        epochs=1,
        batch_size=32,
        width=16,
        embedding_dim=8,
        fusion_heads=2,
        device="cpu",
    )
    return Trainer(open_dataset(settings), settings, Run.create(settings))


def with_batches(trainer, change, **parts):
    """The trainer's pipeline with every batch changed on its way out of the loader."""

    class Loader:
        dataset = trainer.dataset
        batch_sampler = trainer.batches

        def __iter__(self):
            for batch in make_loader(trainer.dataset, trainer.batches):
                yield change(copy.copy(batch))

    return subject_of(trainer, loader=Loader(), **parts)


def missing(batch, rows=8):
    """The same batch, truly without its first modality in its first rows."""
    batch.present = batch.present.clone()
    batch.present[:rows, 0] = False
    batch.inputs = {**batch.inputs, "a": batch.inputs["a"].masked_fill(~batch.present[:, :1], 0.0)}
    return batch


def test_a_healthy_pipeline_is_silent(trainer):
    diagnosis = diagnose(subject_of(trainer))
    assert codes(diagnosis) == []
    assert not [
        reason
        for name, reason in diagnosis.not_run
        if name.startswith("QL-M") and "raised" in reason
    ]


def test_m04_a_modality_dead_as_stored_is_named_and_others_are_not():
    y, arrays = vectors()
    arrays["b"] = np.full_like(arrays["b"], 2.5)
    found = of(diagnose(Subject(table=table_of(y, arrays)), phases=["before"]), "QL-M04")
    assert (
        [item.scope for item in found] == ["b"]
        and found[0].severity == "error"
        and "as stored" in found[0].evidence[0]
    )


def test_m04_a_modality_dead_only_after_the_transform_accuses_the_transform(trainer):
    def kill(batch):
        batch.inputs = {**batch.inputs, "c": torch.zeros_like(batch.inputs["c"])}
        return batch

    diagnosis = diagnose(with_batches(trainer, kill))
    found = of(diagnosis, "QL-M04")
    assert [item.scope for item in found] == [
        "c"
    ] and "the transform or the loader loses it" in found[0].evidence[0]
    assert "QL-M04" in [root.code for root in diagnosis.roots]
    assert not any(root.code in ("QL-N04", "QL-N07") for root in diagnosis.roots)


def test_a_missing_modality_with_a_correct_mask_and_a_rare_flag_are_silent(trainer):
    assert (
        codes(diagnose(with_batches(trainer, missing, table=None, labels=None), phases=["batch"]))
        == []
    )
    y, arrays = vectors()
    arrays["d"] = (np.arange(len(y)) == 7).astype(np.float32)[:, None]
    assert codes(diagnose(Subject(table=table_of(y, arrays)), phases=["before"])) == []


def test_m05_an_inverted_mask_is_told_by_the_table(trainer):
    dataset = trainer.dataset
    column = dataset.table.frame["a"].to_numpy().copy()
    column[::3] = -1
    dataset.table = dataset.table.with_columns(a=column)
    present = dataset.table.present

    def invert(batch):
        batch = replace(batch, present=torch.from_numpy(~present[batch.index.numpy()]))
        batch.present[:, 1] = True  # else no modality is left, and the model refuses the batch
        return batch

    found = of(
        diagnose(with_batches(trainer, invert, table=dataset.table), phases=["batch"]), "QL-M05"
    )
    assert len(found) == 1 and found[0].severity == "error"


def test_m05_a_fully_inverted_mask_is_called_so(trainer):
    def invert(batch):
        return replace(batch, present=~batch.present)

    found = of(diagnose(with_batches(trainer, invert), phases=["batch"]), "QL-M05")
    assert (
        len(found) == 1
        and "inverted" in found[0].title
        and "expected 1.000" in found[0].evidence[0]
    )


def test_m05_without_a_table_the_data_tell_an_inverted_mask(trainer):
    def invert(batch):
        batch = missing(batch, rows=16)
        batch.inputs = {
            "a": batch.inputs["a"],
            "b": batch.inputs["b"].masked_fill(batch.present[:, :1], 0.0),
        }
        batch.present = torch.stack([~batch.present[:, 0], batch.present[:, 0]], dim=1)
        return batch

    found = of(diagnose(with_batches(trainer, invert, table=None), phases=["batch"]), "QL-M05")
    assert found and "inverted" in found[0].title


class MaskedMean(nn.Module):
    def __init__(self, inverted=False, masked=True):
        super().__init__()
        self.encoders = nn.ModuleDict({name: nn.Linear(8, 8) for name in NAMES})
        self.inverted, self.masked = inverted, masked

    def forward(self, batch):
        tokens = torch.stack([self.encoders[name](batch.inputs[name]) for name in NAMES], dim=1)
        present = (
            (~batch.present if self.inverted else batch.present)
            if self.masked
            else torch.ones_like(batch.present)
        )
        return (tokens * present[..., None]).sum(dim=1) / present.sum(dim=1, keepdim=True).clamp(
            min=1
        )


@pytest.mark.parametrize(
    ("options", "word"),
    [({"inverted": True}, "exactly where"), ({"masked": False}, "where the mask says")],
)
def test_m05_a_model_that_reads_what_is_absent_is_named(trainer, options, word):
    torch.manual_seed(0)

    def subject(model):
        def train_step(batch):
            value = trainer.objective.contrast(model(batch), batch.labels)
            value.backward()
            return value.detach()

        return subject_of(trainer, model=model, train_step=train_step, optimizer=None)

    found = of(diagnose(subject(MaskedMean(**options)), phases=["batch"]), "QL-M05")
    assert len(found) == 1 and word in found[0].title
    assert of(diagnose(subject(MaskedMean()), phases=["batch"]), "QL-M05") == []


class Views(nn.Module):
    def __init__(self, way="stack"):
        super().__init__()
        self.encoder, self.way = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8)), way

    def forward(self, views):
        n = len(views[0])
        features = self.encoder(torch.cat(list(views)))
        if self.way == "stack":
            return torch.stack(features.split(n), dim=1)
        return features.view(n, 2, -1) if self.way == "view" else features


def watched(loader, model):
    loss = SupConLoss(0.1)
    return Subject(loader=loader, model=model, loss=loss, train_step=step_of(model, loss))


def two_views(n=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(n, 6, generator=generator)
    views = [base + 0.1 * torch.randn(n, 6, generator=generator) for _ in range(2)]
    labels = torch.arange(n) * 3 // n
    return views, labels


def test_m07_view_instead_of_stack_mixes_recordings_and_views():
    torch.manual_seed(0)
    views, labels = two_views()
    loader = [(views, labels)]
    healthy = diagnose(watched(loader, Views("stack")), phases=["batch"])
    assert codes(healthy) == []
    found = of(
        diagnose(watched(loader, Views("view")), phases=["batch"]),
        "QL-M07",
    )
    assert (
        len(found) == 1
        and found[0].severity == "error"
        and "moves the embedding rows" in found[0].evidence[0]
    )


def test_m07_labels_repeated_in_another_order_than_the_views_are_named():
    torch.manual_seed(0)
    views, labels = two_views()
    for repeated, expected in ((labels.repeat(2), []), (labels.repeat_interleave(2), ["QL-M07"])):
        diagnosis = diagnose(watched([(views, repeated)], Views("cat")), phases=["batch"])
        assert [code for code in codes(diagnosis) if code == "QL-M07"] == expected


def test_m07_attention_over_the_batch_instead_of_over_time_is_named():
    class OverTime(nn.Module):
        def __init__(self, batch_first):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0].mean(dim=1)

    torch.manual_seed(0)
    batch = (torch.randn(10, 5, 8), torch.arange(10) % 2)
    for batch_first, expected in ((True, []), (False, ["QL-M07"])):
        assert (
            codes(diagnose(watched([batch], OverTime(batch_first)), phases=["batch"])) == expected
        )


def test_batch_norm_and_dropout_are_not_taken_for_mixed_rows():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4)
    )
    assert codes(diagnose(watched([(torch.randn(16, 6), torch.arange(16) % 4)], model))) == []
    assert model.training


def test_m10_a_stream_that_is_anothers_copy_is_named_by_arrays_paths_and_files(tmp_path):
    y, arrays = vectors()
    copied = {**arrays, "d": arrays["a"].copy()}
    found = of(diagnose(Subject(table=table_of(y, copied)), phases=["batch"]), "QL-M10")
    assert len(found) == 1 and found[0].scope == "d" and "100% of" in found[0].evidence[0]

    frame = weld_frame(8)
    frame["audio"] = frame["video"]
    assert (
        of(diagnose(Subject(table=frame), phases=["batch"]), "QL-M10")[0].where
        == "video and audio in the table"
    )

    frame = weld_frame(8)
    for path in [*frame["video"], *frame["audio"]]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(path.split("/")[1].encode())
    table = SampleTable(frame, {name: Modality(name) for name in ("video", "audio")}, root=tmp_path)
    assert (
        "equal bytes"
        in of(diagnose(Subject(table=table), phases=["batch"]), "QL-M10")[0].evidence[0]
    )


def test_flags_that_agree_by_chance_are_no_copies():
    y, arrays = vectors()
    random = np.random.default_rng(1)
    arrays |= {
        "c": random.integers(0, 2, (len(y), 1)).astype(np.float32),
        "d": random.integers(0, 2, (len(y), 1)).astype(np.float32),
    }
    assert codes(diagnose(Subject(table=table_of(y, arrays)))) == []


def weld_frame(n=24):
    ids = [f"s{row // 6}/p{row:02d}" for row in range(n)]
    labels = [f"k{row % 3}" for row in range(n)]
    return pd.DataFrame(
        {
            "sample_id": ids,
            "label": labels,
            "group": [name[:2] for name in ids],
            "split": "train",
            "video": [f"{name}/{name[3:]}.avi" for name in ids],
            "audio": [f"{name}/{name[3:]}.flac" for name in ids],
        }
    )


def test_m11_video_read_from_the_photo_folder_is_named():
    frame = weld_frame()
    assert of(diagnose(Subject(table=frame), phases=["before"]), "QL-M11") == []
    frame["video"] = [f"{name}/images/1.jpg" for name in frame["sample_id"]]
    found = of(diagnose(Subject(table=frame), phases=["before"]), "QL-M11")
    assert (
        len(found) == 1 and found[0].scope == "video" and "read from image files" in found[0].title
    )
    frame["video"] = [f"{name}/frames/1.jpg|{name}/frames/2.jpg" for name in frame["sample_id"]]
    assert of(diagnose(Subject(table=frame), phases=["before"]), "QL-M11") == []


def test_m01_paths_that_name_other_recordings_are_an_exact_contract():
    frame = weld_frame()
    assert codes(diagnose(Subject(table=frame), phases=["before"])) == []
    frame["audio"] = np.roll(frame["audio"].to_numpy(), 1)
    found = of(diagnose(Subject(table=frame), phases=["before"]), "QL-M01")
    assert (
        len(found) == 1
        and found[0].severity == "error"
        and found[0].scope == "audio"
        and "24 of 24" in found[0].title
    )


def test_m01_files_named_alike_in_other_rows_give_a_set_of_candidates_without_ids():
    frame = pd.DataFrame(
        {
            "label": ["x", "y"] * 6,
            "left": [f"left/{row:03d}.wav" for row in range(12)],
            "right": [f"right/{row:03d}.wav" for row in range(12)],
        }
    )
    assert codes(diagnose(Subject(table=frame), phases=["before"])) == []
    frame["right"] = np.roll(frame["right"].to_numpy(), 3)
    found = of(diagnose(Subject(table=frame), phases=["before"]), "QL-M01")
    assert len(found) == 1 and found[0].candidates == ("left", "right")


def test_m01_an_id_column_of_a_modality_is_believed():
    y, arrays = vectors()
    frame = table_of(y, arrays).frame
    for order, expected in ((np.arange(len(y)), []), (np.roll(np.arange(len(y)), 5), ["QL-M01"])):
        table = table_of(y, arrays).with_columns(b_id=frame["sample_id"].to_numpy()[order])
        assert codes(diagnose(Subject(table=table), phases=["before"])) == expected


@pytest.mark.parametrize("way", ["array", "column"])
def test_m01_a_modality_shuffled_across_recordings_loses_its_links(way):
    y, arrays = vectors()
    order = np.random.default_rng(3).permutation(len(y))
    table = (
        table_of(y, {**arrays, "b": arrays["b"][order]})
        if way == "array"
        else table_of(y, arrays, {"b": order})
    )
    diagnosis = diagnose(Subject(table=table))
    found = of(diagnosis, "QL-M01")
    assert (
        [item.scope for item in found] == ["b"]
        and found[0].severity == "warning"
        and found[0].candidates
        and found[0].decide
    )
    assert of(diagnosis, "QL-M02") == []


@pytest.mark.parametrize("shape", [(8,), (3, 32)])
def test_a_truly_uninformative_modality_is_silent(shape):
    y, arrays = vectors()
    arrays["b"] = np.random.default_rng(5).normal(size=(len(y), *shape)).astype(np.float32)
    assert codes(diagnose(Subject(table=table_of(y, arrays)))) == []


def test_m01_a_loader_that_hands_out_other_rows_is_named(trainer):
    def shift(batch):
        batch.inputs = {**batch.inputs, "d": batch.inputs["d"].roll(5, dims=0)}
        return batch

    found = of(diagnose(with_batches(trainer, shift), phases=["batch"]), "QL-M01")
    assert [item.scope for item in found] == ["d"] and "the loader returns d" in found[0].title


def test_m02_within_a_class_candidates_are_reported_and_nothing_is_claimed():
    y, arrays = vectors()
    random = np.random.default_rng(7)
    order = np.arange(len(y))
    for code in range(4):
        order[y == code] = random.permutation(order[y == code])
    diagnosis = diagnose(Subject(table=table_of(y, {**arrays, "c": arrays["c"][order]})))
    found = of(diagnosis, "QL-M02")
    assert (
        [item.scope for item in found] == ["c"]
        and found[0].severity == "note"
        and len(found[0].candidates) == 2
    )
    assert diagnosis.ok
    pointing = diagnose(Subject(table=table_of(y, arrays, {"c": order})))
    assert of(pointing, "QL-M02")[0].severity == "warning"


def test_modalities_that_share_their_class_alone_are_silent():
    y, arrays = vectors(shared=0.0)
    assert codes(diagnose(Subject(table=table_of(y, arrays)))) == []
    assert of(diagnose(Subject(table=table_of(y, arrays))), "QL-M02") == []


def test_odd_batches_and_a_raising_model_give_reasons_not_tracebacks():
    class Raises(nn.Module):
        def forward(self, x):
            raise RuntimeError("no")

    good = (torch.randn(8, 3), torch.arange(8) % 2)
    for subject in (
        Subject(loader=[("text", torch.zeros(2))], model=Raises()),
        Subject(loader=[good], model=Raises()),
        Subject(loader=[], model=Raises()),
        Subject(),
        Subject(table=pd.DataFrame({"label": []})),
    ):
        diagnosis = diagnose(subject)
        assert codes(diagnosis) == [] and any(
            name.startswith("QL-M07") for name, _ in diagnosis.not_run
        )
