"""Videos as phones, cameras, recorders and editors write them.

The truth is a scene that is a known function of place and time: grey frames, brighter to the right
and to the bottom, that brighten as time goes on.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .case import COUNT, Case, Made, ffmpeg, listed, table

CASES: list[Case] = []
WIDTH, HEIGHT, RATE, FRAMES = 160, 96, 24, 48
TOLERANCE = 5.0  # grey levels of 255, mean over a bin


def frame(number: int, share: float, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """The scene at a share of its length: uint8 (height, width)."""
    x = np.linspace(0, 1, width)[None, :]
    y = np.linspace(0, 1, height)[:, None]
    return (20 + 4 * number + 80 * share + 60 * x + 40 * y).round().astype(np.uint8)


def film(number: int, count: int = FRAMES, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """The scene as frames of equal distance: uint8 (count, height, width)."""
    return np.stack([frame(number, at / count, width, height) for at in range(count)])


def encode(path: Path, frames: np.ndarray, *options: str | Path, rate: str = str(RATE)) -> None:
    """Code grey frames with ffmpeg; `options` stand before the output."""
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    raw = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", size, "-r", rate, "-i", "-"]
    ffmpeg(*raw, *options, path, data=frames.tobytes())


H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-pix_fmt", "yuv420p")


def clips(
    folder: Path,
    write: Callable[[Path, int], None],
    ending: str = "mp4",
    share: Callable[[float], float] = lambda at: at,
    tolerance: float = TOLERANCE,
    **settings: Any,
) -> Made:
    """Clips by `write(path, number)`; `share(at)` is the scene's share shown at a share of time."""
    names = [f"clip{number}.{ending}" for number in range(COUNT)]
    for number, name in enumerate(names):
        write(folder / name, number)
    made = table(folder, {"clip": names}, **settings)
    return Made(made, lambda dataset, words: compare_clips(dataset, share, tolerance))


def compare_clips(dataset: Any, share: Callable[[float], float], tolerance: float) -> list[str]:
    """Mean difference in grey levels of each recording's time bins from the scene."""
    array = dataset.store.arrays["clip"]
    bins, (height, width) = array.shape[1], array.shape[3:]
    ids = dataset.table.frame["sample_id"].tolist()
    wrong = [] if dataset.store.present.all() else [f"{(~dataset.store.present).sum()} were masked"]
    for number in range(COUNT):
        mean = array[ids.index(f"r{number}"), :, 0].astype(float)
        for at in range(bins):
            moments = (at + (np.arange(6) + 0.5) / 6) / bins
            scene = np.mean([frame(number, share(m)).astype(float) for m in moments], axis=0)
            small = Image.fromarray(scene.astype(np.float32)).resize(
                (width, height), Image.Resampling.BOX
            )
            off = np.abs(mean[at] - np.asarray(small)).mean()
            if not off <= tolerance:
                wrong.append(
                    f"r{number} bin {at} is off by {off:.1f} levels (mean {mean[at].mean():.0f}, not {scene.mean():.0f})"
                )
                break
    return wrong[:3]


def coded(
    folder: Path,
    *options: str,
    ending: str = "mp4",
    rate: str = str(RATE),
    count: int = FRAMES,
    **how: Any,
) -> Made:
    return clips(
        folder,
        lambda path, number: encode(path, film(number, count), *options, rate=rate),
        ending,
        **how,
    )


@listed(CASES, source="https://github.com/datachain-ai/datachain/issues/1823")
def rotation_90(folder: Path) -> Made:
    return _rotated(folder, 90, 3)


@listed(CASES, source="https://github.com/opencv/opencv/issues/26876")
def rotation_180(folder: Path) -> Made:
    return _rotated(folder, 180, 2)


@listed(CASES, source="https://github.com/meta-pytorch/torchcodec/issues/1084")
def rotation_270(folder: Path) -> Made:
    return _rotated(folder, 270, 1)


def _rotated(folder: Path, degrees: int, turns: int) -> Made:
    """`rotate` says how far clockwise a player turns: the coded frame lies the other way round."""

    def write(path: Path, number: int) -> None:
        lying = np.ascontiguousarray(np.rot90(film(number), turns, axes=(1, 2)))
        flat = path.with_suffix(".flat.mp4")
        encode(flat, lying, *H264)
        ffmpeg("-i", flat, "-c", "copy", "-metadata:s:v:0", f"rotate={degrees}", path)

    return clips(folder, write)


@listed(
    CASES, source="phones: the rate falls where it is dark; half the time has a fifth of the frames"
)
def phone_variable_rate(folder: Path) -> Made:
    def write(path: Path, number: int) -> None:
        times = np.r_[np.arange(40) / 40, 1 + np.arange(10) / 10]
        frames = np.stack([frame(number, t / 2) for t in times])
        chosen = "if(lt(N,40),N/40,1+(N-40)/10)/TB"
        encode(
            path,
            frames,
            "-vf",
            f"settb=1/1000,setpts='{chosen}'",
            "-vsync",
            "vfr",
            *H264,
            "-video_track_timescale",
            "1000",
        )

    return clips(folder, write)


@listed(CASES, source="edit list: the first half of the track is not shown (cut with stream copy)")
def edit_list_cuts_the_start(folder: Path) -> Made:
    def write(path: Path, number: int) -> None:
        whole = path.with_suffix(".whole.mp4")
        encode(whole, film(number), *H264, "-g", "48")
        ffmpeg("-ss", "1", "-i", whole, "-c", "copy", path)

    return clips(folder, write, share=lambda at: 0.5 + at / 2, tolerance=6.0)


@listed(CASES, source="B frames: the first time stamp is below zero or above it")
def b_frames(folder: Path) -> Made:
    return coded(
        folder, "-c:v", "libx264", "-bf", "3", "-crf", "12", "-pix_fmt", "yuv420p", ending="mkv"
    )


@listed(CASES, source="MPEG-TS of IP cameras: time starts at 10 hours")
def ts_starting_late(folder: Path) -> Made:
    return coded(folder, *H264, "-output_ts_offset", "36000", ending="ts")


@listed(CASES, source="camcorders: interlaced MPEG-2 in .mpg")
def mpeg2_interlaced(folder: Path) -> Made:
    return coded(
        folder,
        "-c:v",
        "mpeg2video",
        "-flags",
        "+ilme+ildct",
        "-q:v",
        "2",
        "-pix_fmt",
        "yuv420p",
        ending="mpg",
        rate="25",
        count=50,
    )


@listed(CASES, source="iPhone high efficiency: HEVC, 10 bits, hvc1")
def hevc_10_bit(folder: Path) -> Made:
    return coded(
        folder,
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        "log-level=none",
        "-pix_fmt",
        "yuv420p10le",
        "-tag:v",
        "hvc1",
        ending="mov",
    )


@listed(CASES, source="full range: black is 0, not 16 (phones, screen recorders)")
def full_range(folder: Path) -> Made:
    return coded(
        folder,
        "-c:v",
        "libx264",
        "-crf",
        "12",
        "-vf",
        "scale=out_range=full",
        "-pix_fmt",
        "yuv420p",
        "-color_range",
        "pc",
    )


@listed(CASES, source="ProRes 4:2:2 10 bits of field recorders")
def prores(folder: Path) -> Made:
    return coded(folder, "-c:v", "prores_ks", "-pix_fmt", "yuv422p10le", ending="mov")


@listed(CASES, source="cheap USB cameras: motion JPEG in AVI")
def mjpeg_avi(folder: Path) -> Made:
    return coded(folder, "-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj422p", ending="avi")


@listed(CASES, source="machine vision: uncompressed 8-bit grey in AVI")
def raw_grey_avi(folder: Path) -> Made:
    return coded(folder, "-c:v", "rawvideo", "-pix_fmt", "gray", ending="avi")


@listed(CASES, source="thermal and X-ray cameras: FFV1 with 16-bit grey")
def ffv1_grey_16_bit(folder: Path) -> Made:
    return coded(folder, "-c:v", "ffv1", "-pix_fmt", "gray16le", ending="mkv")


@listed(CASES, source="VP9 with an alpha channel in .webm")
def webm_alpha(folder: Path) -> Made:
    return coded(
        folder,
        "-c:v",
        "libvpx-vp9",
        "-pix_fmt",
        "yuva420p",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-b:v",
        "2M",
        ending="webm",
    )
