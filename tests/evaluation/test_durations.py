import av
import numpy as np
import pytest
import soundfile

from quadlib.data.samples import Modality, SampleTable
from quadlib.evaluation.durations import with_durations


def write_video(path, seconds: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for _ in range(10 * seconds):
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(np.zeros((32, 32), dtype=np.uint8), format="gray")
                )
            )
        container.mux(stream.encode())


def test_one_clock_counts_and_only_the_rows_asked_for(table, tmp_path) -> None:
    write_video(tmp_path / "0.avi", 3)
    for row in range(4):
        soundfile.write(tmp_path / f"{row}.flac", np.zeros(12000), 8000)
    frame = table.frame.head(4).drop(columns="duration_seconds")
    frame = frame.assign(audio=["0.flac", "1.flac", "", "3.flac"], video=["0.avi", "", "", ""])
    recorded = SampleTable(
        frame, {"audio": Modality("audio"), "video": Modality("video")}, root=tmp_path
    )
    timed = with_durations(recorded, np.array([0, 1, 2])).frame["duration_seconds"]
    assert timed.tolist() == pytest.approx([1.5, 1.5, np.nan, np.nan], nan_ok=True)
    timed = with_durations(recorded, np.array([0])).frame["duration_seconds"]  # both: the video's
    assert timed.tolist() == pytest.approx([3.0, np.nan, np.nan, np.nan], nan_ok=True)


def test_a_table_that_tells_or_has_no_files_is_left_alone(table) -> None:
    assert with_durations(table, np.arange(3)) is table
    silent = table.with_columns().take(np.arange(5))
    bare = SampleTable(
        silent.frame.drop(columns="duration_seconds"),
        silent.modalities,
        arrays=silent.arrays,
        classes=silent.classes,
    )
    assert with_durations(bare, np.arange(3)) is bare


def test_sounds_that_came_as_arrays_have_no_files_to_ask(table) -> None:
    arrays = {"audio": np.zeros((5, 2, 4, 6), dtype=np.float32)}
    frame = table.frame.head(5).drop(columns="duration_seconds").assign(audio=np.arange(5))
    heard = SampleTable(frame, {"audio": Modality("audio", (2, 4, 6))}, arrays=arrays)
    assert with_durations(heard, np.arange(5)) is heard
