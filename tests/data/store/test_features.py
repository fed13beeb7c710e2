"""The store of features: what a frozen encoder says of each recording, kept beside the decoded ones
in the same way.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from tiny_encoder import encode

from quadlib.config import SettingsError, TrainSettings
from quadlib.data.dataset import QuadDataset
from quadlib.data.decoding import workers
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.job import decode
from quadlib.data.decoding.workers import WorkerPool
from quadlib.data.kinds import image, video
from quadlib.data.normalise import Normaliser
from quadlib.data.open import with_encoders
from quadlib.data.store.clean import clean_store
from quadlib.data.store.contents import Contents
from quadlib.data.store.fill import JOURNAL, fill_whole
from quadlib.data.store.order import Order
from quadlib.data.store.store import MediaStore, decode_table
from quadlib.model.encoders.frozen import FrozenEncoder, Reading
from quadlib.registry import ENCODERS

SIDE = {"image_height_px": 16, "image_width_px": 20, "video_height_px": 16, "video_width_px": 20}


def tiny(weights: str = "a") -> FrozenEncoder:
    photos = Reading(image.decode_bicubic, SIDE, lambda settings: settings.image_views)
    frames = Reading(video.decode_frames, SIDE, lambda settings: settings.video_frames, True)
    return FrozenEncoder(6, {"image": photos, "video": frames}, encode, lambda: weights)


SETTINGS = TrainSettings(video_frames=3, audio_frames=8, audio_mel_bins=8, series_steps=9)


@pytest.fixture
def table(media, monkeypatch):
    list(ENCODERS)  # quadlib's own are registered for good
    monkeypatch.setattr(ENCODERS, "_entries", {**ENCODERS._entries, "tiny": tiny()})
    return with_encoders(media.table(4), {"image": "tiny", "video": "tiny"})


@pytest.fixture
def in_process(monkeypatch):
    """Decodes without starting processes, and counts the jobs."""
    done = []

    def decode_all(self, jobs):
        for place, job in enumerate(jobs):
            done.append(job.kind)
            try:
                yield place, decode(job)
            except DamageError as damage:
                yield place, damage

    monkeypatch.setattr(WorkerPool, "decode_all", decode_all)
    return done


def order_of(table, name, root):
    store = decode_table(table, SETTINGS, root)
    files = [[str(table.root / part) for part in parts] for parts in table.files(name)]
    windows = [None] * len(table)
    return store, Order(table, name, SETTINGS, files, windows, Contents(root), WorkerPool())


def test_stored_features_are_those_of_encoding_each_time_to_the_bit(table, tmp_path):
    """By processes that decode, one recording at a time."""
    store, order = order_of(table.with_modalities(["image"]), "image", tmp_path / "store")
    for row, job in order.jobs.items():
        assert np.array_equal(store.arrays["image"][row], decode(job).array)
    assert store.arrays["image"].shape == (4, 2, 6)
    assert isinstance(store.arrays["image"], np.memmap)


def test_other_weights_are_encoded_anew_and_other_sizes_are_not(
    table, tmp_path, in_process, monkeypatch
):
    store = MediaStore.open(table, SETTINGS, tmp_path / "store")
    assert store.arrays["video"].shape == (4, 3, 6)
    assert in_process.count("image") == in_process.count("video") == 4
    in_process.clear()
    larger = SETTINGS.model_copy(update={"image_height_px": 99, "video_width_px": 99})
    MediaStore.open(table, larger, tmp_path / "store")
    assert not in_process  # the encoder has sizes of its own
    monkeypatch.setitem(ENCODERS._entries, "tiny", tiny("b"))
    MediaStore.open(table, SETTINGS, tmp_path / "store")
    assert in_process == ["video"] * 4 + ["image"] * 4


def test_a_run_with_its_own_encoders_has_the_same_recordings(table, tmp_path, in_process):
    plain = with_encoders(table, {"image": "", "video": ""})
    first = MediaStore.open(table, SETTINGS, tmp_path / "store")
    second = MediaStore.open(plain, SETTINGS, tmp_path / "store")
    assert first.fingerprint == second.fingerprint
    assert second.arrays["image"].shape[1:] == (2, 3, 48, 96)


def test_an_interrupted_filling_goes_on_where_it_was(table, tmp_path, in_process):
    class Killed(BaseException):
        pass

    store, order = order_of(table, "image", tmp_path / "store")
    expected = np.array(store.arrays["image"])

    class Pool(WorkerPool):
        def decode_all(self, jobs):
            for place, job in enumerate(jobs):
                if place == 2:
                    raise Killed
                yield place, decode(job)

    root = tmp_path / "other"
    root.mkdir()
    with Pool() as pool, pytest.raises(Killed):
        fill_whole(root / "image-x", order, pool)
    unfinished = root / ".image-x.tmp"
    with open(unfinished / JOURNAL, "ab") as journal:
        journal.write(b'[3, "torn')
    with open(unfinished / "array.npy", "r+b") as array:  # a row that did not reach the disk
        array.seek(-4 * order.stride, 2)
        array.write(b"\0" * order.stride)
    with WorkerPool() as pool:
        in_process.clear()
        assert fill_whole(root / "image-x", order, pool) == 3  # rows 0, 2 and 3
    assert np.array_equal(np.load(root / "image-x" / "array.npy"), expected)
    assert sorted(path.name for path in (root / "image-x").iterdir()) == ["array.npy", "index.json"]
    assert not unfinished.exists() and len(in_process) == 3


def test_results_do_not_pile_up_where_they_are_taken_slowly(monkeypatch):
    begun = []

    class Slow:
        def __init__(self, *_):
            pass

        def decode(self, job):
            begun.append(job)
            return job

        def end(self):
            pass

    monkeypatch.setattr(workers, "Worker", Slow)
    monkeypatch.setattr(workers, "usable_cores", lambda: 2)
    with WorkerPool() as pool:
        seen = 0
        for position, result in pool.decode_all(range(500)):
            assert position == result
            seen += 1
            assert len(begun) <= seen + 2 * workers.JOBS_AHEAD
    assert seen == 500


def test_cleaning_removes_features_too(table, tmp_path, in_process):
    settings = SETTINGS.model_copy(update={"outputs": str(tmp_path)})
    MediaStore.open(table, settings)
    assert clean_store(settings.outputs)[0] == 4
    assert not list((tmp_path / "store").glob("*-*"))


def test_everything_wrong_with_encoders_is_said_at_once(table):
    array = replace(table.modalities["image"], encoder="")
    with pytest.raises(SettingsError) as caught:
        with_encoders(
            replace(table, modalities={**table.modalities, "image": array}),
            {"photo": "tiny", "audio": "tiny", "sensor": "tinny", "video": "tiny"},
        )
    assert str(caught.value).splitlines() == [
        "encoders: no modality 'photo'; known are video, image, audio, sensor",
        "encoders: audio=tiny: tiny reads image and video, not audio; choose another encoder",
        "encoders: sensor=tinny: no encoder 'tinny'; did you mean 'tiny'? known are "
        + ", ".join(ENCODERS),
    ]


def test_facts_of_the_files_are_kept(table, tmp_path, in_process):
    store = MediaStore.open(table, SETTINGS, tmp_path / "store")
    index = next((tmp_path / "store").glob("video-*")) / "index.json"
    assert "offset_s" in store.facts["video"][0]
    assert json.loads(index.read_text())["entries"]["0"]["facts"] == store.facts["video"][0]


def test_changed_copies_are_stored_and_drawn_in_training_alone(table, tmp_path, in_process, caplog):
    settings = SETTINGS.model_copy(update={"feature_copies": 2})
    with caplog.at_level("INFO", "quadlib"):
        store = MediaStore.open(table, settings, tmp_path / "store")
    assert "4 image by tiny, 4 audio, 8 changed video, 8 changed image) in" in caplog.text
    assert set(store.copies) == {"image", "video"}
    features = [store.arrays["video"], *store.copies["video"]]
    assert len({one.tobytes() for one in features}) == 3
    loaded = pickle.loads(pickle.dumps(store))
    assert np.array_equal(loaded.copies["video"][1], store.copies["video"][1])
    rows, present = np.arange(4), store.present
    scale = Normaliser.fit(store.arrays, present, store.table.modalities, rows)
    dataset = QuadDataset(store, scale, augment=True)
    seen = set()
    for epoch in range(8):
        dataset.set_epoch(epoch)
        batch = dataset.__getitems__([1, 2])
        again = dataset.__getitems__([2, 1])
        assert np.array_equal(batch.inputs["video"][0], again.inputs["video"][1])
        seen.add(batch.inputs["video"][0].numpy().tobytes())
    assert seen == {scale.apply("video", one[1]).tobytes() for one in features}
    (plain,) = dataset.batches([1], 1)
    assert plain.inputs["video"].numpy().tobytes() == scale.apply("video", features[0][1]).tobytes()
    in_process.clear()
    MediaStore.open(table, settings, tmp_path / "store")
    assert not in_process


def test_an_encoder_that_fails_is_told_of_every_recording(table, tmp_path, monkeypatch, in_process):
    def fail(pictures, device):
        raise RuntimeError("weights.pth is cut short\nat byte 7")

    monkeypatch.setitem(ENCODERS._entries, "tiny", replace(tiny("c"), encode=fail))
    store = decode_table(table.with_modalities(["image"]), SETTINGS, tmp_path / "store")
    assert [item.what for item in store.damage] == [
        "its encoder failed (RuntimeError: weights.pth is cut short)"
    ] * 4
    assert "delete the folder store in outputs" in store.damage[0].remedy
