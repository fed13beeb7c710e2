"""Tiny real media files, written by the libraries that read them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from quadlib.data.kinds.series import WELD_CHANNELS, WELD_CURRENT
from quadlib.data.samples import Modality, SampleTable

WELD_HEADER = (
    "Date,Time,Part No,Pressure,CO2 Weld Flow,Feed,Primary Weld Current,Wire Consumed,Secondary "
    "Weld Voltage,Remarks "
)


class MediaFiles:
    """Writes media files into a folder, and a table of recordings that has them all."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def avi(
        self, name: str, frames: Sequence[np.ndarray] | None = None, codec: str = "mpeg4"
    ) -> Path:
        """Grey frames (H, W) uint8 as a video of 15 frames a second; noise where none are given."""
        if frames is None:
            frames = list(np.random.default_rng(0).integers(0, 255, (24, 48, 64), dtype=np.uint8))
        path = self.path(name)
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=Fraction(15))
            stream.height, stream.width = frames[0].shape
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.bit_rate = 2_000_000
            for frame in frames:
                picture = av.VideoFrame.from_ndarray(
                    np.repeat(frame[:, :, None], 3, axis=2), format="rgb24"
                )
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path

    def flac(self, name: str, samples: np.ndarray | None = None, rate: int = 16000) -> Path:
        if samples is None:
            samples = np.random.default_rng(0).normal(0, 0.1, rate)
        path = self.path(name)
        soundfile.write(str(path), samples, rate)
        return path

    def jpg(
        self,
        name: str,
        size: tuple[int, int] = (120, 60),
        colour: tuple[int, int, int] | None = None,
        **options,
    ) -> Path:
        path = self.path(name)
        noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        image = Image.fromarray(noise) if colour is None else Image.new("RGB", size, colour)
        image.save(path, **options)
        return path

    def weld_csv(
        self,
        name: str,
        rows: int = 40,
        current: float = 150.0,
        on: float = 0.2,
        off: float = 0.8,
        edit=None,
    ) -> Path:
        """A welding cell's log at 10 Hz, nine fields a row under ten names; `edit` changes its list
        of lines before writing.
        """
        lines = [WELD_HEADER]
        for row in range(rows):
            burning = on <= row / (rows - 1) <= off
            clock = (
                f"04/06/2023,23:59:{55 + row / 10:06.3f}"
                if row < 50
                else f"04/07/2023,00:00:{row / 10 - 5:06.3f}"
            )
            lines.append(
                f"{clock},part,0.1,{8 + row / 10},0.05,{current if burning else 0.2},"
                f"{row * 0.04:.3f},20.5"
            )
        path = self.path(name)
        path.write_text("\n".join(edit(lines) if edit else lines) + "\n")
        return path

    def table(self, count: int = 4) -> SampleTable:
        """`count` recordings of two classes with all four modalities, half of them in train."""
        rows = []
        for number in range(count):
            part = f"s{number // 2}/r{number}"
            # Four seconds as the log's, with the arc from 0.8 s to 3.2 s of them.
            random, burning = np.random.default_rng(number), (np.arange(60) // 12) % 4 > 0
            frames = random.integers(0, 255, (60, 32, 48)) * burning[:, None, None]
            self.avi(f"{part}/r.avi", list(frames.astype(np.uint8)))
            loud = np.repeat(burning, 16000 // 15)
            samples = random.normal(0, 0.02 * (number + 1), len(loud)) * (loud + 0.01)
            self.flac(f"{part}/r.flac", samples)
            self.weld_csv(f"{part}/r.csv", current=100.0 + 10 * number)
            for view in range(3):
                self.jpg(f"{part}/{view}.jpg", colour=(40 * view, 20 * number, 90))
            photos = "|".join(f"{part}/{view}.jpg" for view in range(3))
            rows.append(
                {
                    "sample_id": f"r{number}",
                    "label": "ab"[number % 2],
                    "group": f"s{number // 2}",
                    "split": "train" if number < count / 2 else "val",
                    "video": f"{part}/r.avi",
                    "image": photos,
                    "audio": f"{part}/r.flac",
                    "sensor": f"{part}/r.csv",
                }
            )
        modalities = {
            "video": Modality("video"),
            "image": Modality("image"),
            "audio": Modality("audio"),
            "sensor": Modality("series", (6,), WELD_CHANNELS, WELD_CURRENT),
        }
        return SampleTable(pd.DataFrame(rows), modalities, root=self.root, name="welds")


@pytest.fixture(scope="session")
def media_files() -> type[MediaFiles]:
    return MediaFiles


@pytest.fixture
def media(tmp_path: Path) -> MediaFiles:
    return MediaFiles(tmp_path / "media")
