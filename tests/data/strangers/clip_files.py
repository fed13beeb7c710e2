"""Videos whose container holds more or less than one stream of pictures."""

from pathlib import Path

import numpy as np
import soundfile

from .case import Case, Made, ffmpeg, listed
from .clips import H264, clips, coded, encode, film

CASES: list[Case] = []


@listed(
    CASES,
    "refused",
    says=r"clip3\.mp4",
    source="mp4 whose end, and with it its index, was never written",
)
def mp4_without_index(folder: Path) -> Made:
    def write(path: Path, number: int) -> None:
        encode(path, film(number), *H264)
        if number == 3:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return clips(folder, write)


@listed(
    CASES,
    "refused",
    says=r"clip3\.mp4",
    source="a download that stopped: the index stands at the front and promises all frames",
)
def mp4_faststart_cut(folder: Path) -> Made:
    def write(path: Path, number: int) -> None:
        encode(path, film(number), *H264, "-movflags", "+faststart")
        if number == 3:
            path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])

    return clips(folder, write)


@listed(
    CASES,
    source="MKV with a cover picture and a font attached; ffmpeg shows the cover as a video stream",
)
def mkv_cover_attached(folder: Path) -> Made:
    def write(path: Path, number: int) -> None:
        plain, cover, font = path.with_suffix(".plain.mkv"), folder / "cover.png", folder / "a.ttf"
        encode(plain, film(number), *H264)
        ffmpeg("-f", "lavfi", "-i", "color=red:s=320x320", "-frames:v", "1", cover)
        font.write_bytes(b"\0\1\0\0 font")
        ffmpeg("-i", plain, "-c", "copy", "-attach", font, "-metadata:s:t:0", "mimetype=application/x-truetype-font",
               "-attach", cover, "-metadata:s:t:1", "mimetype=image/png", path)  # fmt: skip

    return clips(folder, write, "mkv")


@listed(CASES, source="m4v/mp4 of editors: a cover as its second video stream")
def mp4_with_cover(folder: Path) -> Made:
    def write(path: Path, number: int) -> None:
        plain, cover = path.with_suffix(".plain.mp4"), folder / "cover.png"
        encode(plain, film(number), *H264)
        ffmpeg("-f", "lavfi", "-i", "color=red:s=320x320", "-frames:v", "1", cover)
        ffmpeg(
            "-i",
            plain,
            "-i",
            cover,
            "-map",
            "0:v",
            "-map",
            "1:v",
            "-c",
            "copy",
            "-disposition:v:1",
            "attached_pic",
            path,
        )

    return clips(folder, write)


@listed(CASES, source="dash cameras: front and rear as two video streams; the first is the front")
def two_video_streams(folder: Path) -> Made:
    def write(path: Path, number: int) -> None:
        front, rear = path.with_suffix(".f.mkv"), path.with_suffix(".r.mkv")
        encode(front, film(number), *H264)
        encode(rear, 255 - film(number), *H264)
        ffmpeg("-i", front, "-i", rear, "-map", "0", "-map", "1", "-c", "copy", path)

    return clips(folder, write)


@listed(
    CASES,
    source="GoPro: sound goes on after the last frame, and a data stream (gpmd) stands beside it",
)
def audio_longer_than_video(folder: Path) -> Made:
    def write(path: Path, number: int) -> None:
        plain, tone = path.with_suffix(".plain.mp4"), path.with_suffix(".wav")
        encode(plain, film(number), *H264)
        soundfile.write(tone, 0.1 * np.sin(np.arange(16000 * 4) / 10), 16000)
        ffmpeg(
            "-i",
            plain,
            "-i",
            tone,
            "-c:v",
            "copy",
            "-c:a",
            "aac",
            "-write_tmcd",
            "1",
            "-timecode",
            "01:00:00:00",
            path,
        )

    return clips(folder, write, "mov")


@listed(CASES, source="time lapse: one frame in ten seconds")
def timelapse_a_tenth(folder: Path) -> Made:
    return coded(folder, *H264, rate="1/10", ending="mkv")


@listed(CASES, source="a GIF in a column of videos", good="right or refused", says=r"clip0\.gif")
def gif_as_video(folder: Path) -> Made:
    return coded(folder, ending="gif", rate="25", tolerance=9.0)


@listed(CASES, source="raw H.264 of the Raspberry Pi camera: no container, no time stamps")
def raw_h264(folder: Path) -> Made:
    return coded(folder, *H264, ending="h264", rate="25", count=50)


@listed(CASES, source="an .avi that is an mp4")
def mp4_named_avi(folder: Path) -> Made:
    def write(path: Path, number: int) -> None:
        encode(path.with_suffix(".mp4"), film(number), *H264)
        path.with_suffix(".mp4").rename(path)

    return clips(folder, write, "avi")


@listed(CASES, source="anamorphic pixels: 4:3 shown as 16:9; stretched either way to the set size")
def anamorphic(folder: Path) -> Made:
    return coded(folder, *H264, "-aspect", "16:9")


@listed(
    CASES,
    "refused",
    says=r"clip4\.mp4",
    source="a clip of sound alone, its picture was never switched on",
)
def mp4_without_picture(folder: Path) -> Made:
    def write(path: Path, number: int) -> None:
        if number == 4:
            tone = path.with_suffix(".wav")
            soundfile.write(tone, 0.1 * np.sin(np.arange(16000) / 10), 16000)
            ffmpeg("-i", tone, "-c:a", "aac", path)
        else:
            encode(path, film(number), *H264)

    return clips(folder, write)
