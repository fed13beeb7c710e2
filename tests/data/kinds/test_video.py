from __future__ import annotations

import numpy as np
import pytest

from quadlib.config import MediaSettings
from quadlib.data.decoding import frames as decoding
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.frames import Frames
from quadlib.data.kinds.video import decode_video

SETTINGS = MediaSettings(video_frames=4, video_height_px=12, video_width_px=16)


def flat(level: int) -> np.ndarray:
    return np.full((48, 64), level, dtype=np.uint8)


def test_a_bin_keeps_mean_and_maximum(media):
    levels = [20, 60, 100, 140, 30, 30, 30, 30]
    video = decode_video(media.avi("v.avi", [flat(level) for level in levels]), SETTINGS)
    assert video.shape == (4, 2, 12, 16) and video.dtype == np.uint8
    assert video[:, 0].mean(axis=(1, 2)) == pytest.approx([40, 120, 30, 30], abs=4)
    assert video[:, 1].mean(axis=(1, 2)) == pytest.approx([60, 140, 30, 30], abs=4)


def test_the_arc_window_leaves_out_the_dark(media):
    path = media.avi("v.avi", [flat(0)] * 8 + [flat(200)] * 8 + [flat(0)] * 4)
    assert decode_video(path, SETTINGS)[0].max() < 10
    assert decode_video(path, SETTINGS, (8 / 15, 16 / 15)).min() > 180


def test_a_spark_of_one_frame_survives_in_the_maximum(media):
    frames = [flat(20) for _ in range(16)]
    frames[5] = frames[5].copy()
    frames[5][16:32, 16:32] = 250
    video = decode_video(media.avi("v.avi", frames), SETTINGS)
    assert video[1, 1].max() > 200 and video[1, 0].max() < 100 and video[0, 1].max() < 60


def test_fewer_frames_than_bins_leave_no_bin_empty(media):
    video = decode_video(media.avi("v.avi", [flat(100), flat(200)]), SETTINGS)
    assert video[:, 0].mean(axis=(1, 2)) == pytest.approx([100, 100, 200, 200], abs=6)


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg"])
def test_every_truncation_is_detected(media, codec):
    path = media.avi("v.avi", codec=codec)
    content = path.read_bytes()
    for size in (
        *(int(share * len(content)) for share in (0.999, 0.98, 0.9, 0.5, 0.1, 0.02)),
        content.rindex(b"idx1"),
        100,
        4,
    ):
        path.write_bytes(content[:size])
        with pytest.raises(DamageError) as raised:
            decode_video(path, SETTINGS)
        assert "v.avi" in str(raised.value) and "copy it again" in str(raised.value)


def test_zeroed_pages_and_garbage_are_detected(media):
    path = media.avi("v.avi")
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(4096) + content[middle + 4096 :])
    with pytest.raises(DamageError):
        decode_video(path, SETTINGS)
    path.write_bytes(b"no video at all" * 100)
    with pytest.raises(DamageError, match="cannot be decoded"):
        decode_video(path, SETTINGS)


def test_a_file_without_video_says_so(media):
    path = media.flac("v.flac")
    with pytest.raises(DamageError, match="no video stream"):
        decode_video(path, SETTINGS)


@pytest.mark.parametrize("codec", ["mjpeg", "ffv1", "libx264"])
@pytest.mark.parametrize("count", [1, 2, 31])
def test_whole_files_of_other_codecs_are_accepted(media, codec, count):
    video = decode_video(media.avi("v.avi", [flat(90)] * count, codec=codec), SETTINGS)
    assert video.mean() == pytest.approx(90, abs=4)


def test_a_container_without_a_frame_count_is_read_by_its_packets(media):
    levels = [20, 60, 100, 140, 30, 30, 30, 30]
    path = media.avi("v.mkv", [flat(level) for level in levels], codec="libx264")
    video = decode_video(path, SETTINGS)
    assert video[:, 0].mean(axis=(1, 2)) == pytest.approx([40, 120, 30, 30], abs=4)


def test_a_bin_before_the_first_frame_or_after_the_last_keeps_the_nearest(media):
    path = media.avi("v.avi", [flat(50)] * 8 + [flat(150)] * 8)
    video = decode_video(path, SETTINGS, (-16 / 15, 32 / 15))
    assert video[:, 0].mean(axis=(1, 2)) == pytest.approx([50, 75, 150, 150], abs=26)


def test_brightness_of_every_frame(media):
    path = media.avi("v.avi", [flat(0)] * 8 + [flat(200)] * 8)
    times, levels = Frames(path).brightness()
    assert times == pytest.approx(np.arange(16) / 15)
    assert levels[:8].max() < 10 and levels[8:].min() > 180


@pytest.mark.parametrize(("memory", "passes"), [(2**28, 1), (20_000, 2)])
def test_frames_that_fit_into_memory_are_decoded_once(media, monkeypatch, memory, passes):
    path = media.avi("v.avi", [flat(10 * value) for value in range(16)])
    begun, timed = [], decoding._timed_frames
    monkeypatch.setattr(decoding, "KEPT_BYTES", memory)
    monkeypatch.setattr(decoding, "_timed_frames", lambda *given: begun.append(1) or timed(*given))
    frames = Frames(path)
    frames.brightness()
    seen = decode_video(path, SETTINGS, (0.2, 0.8), frames)
    assert len(begun) == passes
    assert np.array_equal(seen, decode_video(path, SETTINGS, (0.2, 0.8)))
