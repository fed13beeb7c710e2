"""Small healthy pipelines on which faults are tried: measured digits, and simulated welds of the
least size.
"""

from __future__ import annotations

from functools import lru_cache

from quadlib.config import TrainSettings, read_settings
from quadlib.data.open import open_source
from quadlib.data.samples import SampleTable
from quadlib.faults.pipeline import Pipeline
from quadlib.files import outputs_folder

SMALL_MEDIA = {
    "video_frames": 4,
    "video_height_px": 16,
    "video_width_px": 24,
    "image_views": 1,
    "image_height_px": 16,
    "image_width_px": 32,
    "audio_mel_bins": 16,
    "audio_frames": 32,
    "series_steps": 32,
}


def small_pipeline(source: str, seed: int = 0, outputs: str = "") -> Pipeline:
    """A healthy pipeline of "mfeat" (480 training samples) or "weldsim" (96), small enough to be
    diagnosed in a second or two.
    """
    values = {
        "source": source,
        "size": "tiny",
        "seed": seed,
        "outputs": outputs,
        "width": 32,
        "embedding_dim": 32,
        "device": "cpu",
    }
    settings = read_settings(TrainSettings, values | (SMALL_MEDIA if source == "weldsim" else {}))
    return Pipeline(_table(source, seed, outputs), settings)


@lru_cache(maxsize=16)
def _table(source: str, seed: int, outputs: str) -> SampleTable:
    if source == "mfeat":
        return open_source("mfeat", seed=seed)
    folder = outputs_folder(outputs) / "data" / f"weldsim-small-{seed}"
    return open_source("weldsim", folder, size="tiny", seed=seed, recordings_per_session=4)
