"""What each sort of network of the transformers library reads and says: photos, videos or sounds,
in its own preprocessing, to features of pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quadlib.data.kinds import audio, image, video
from quadlib.model.encoders.frozen import Reading

STRETCHES = 4  # of a sound, each as long as the network reads at a time


@dataclass(frozen=True)
class Source:
    """A local folder of a network: its configuration, and that of its preprocessing."""

    folder: Path
    network: Mapping[str, Any]
    inputs: Mapping[str, Any]

    @property
    def side_px(self) -> tuple[int, int]:
        """Height and width of the pictures that it reads."""
        cropped = self.inputs.get("do_center_crop", True) and self.inputs.get("crop_size")
        size = cropped or self.inputs.get("size") or self.network["crop_size"]
        if isinstance(size, int):
            return size, size
        side = size.get("shortest_edge", 0)
        return size.get("height", side), size.get("width", side)

    def load(self) -> Any:
        """The network, in evaluation mode; the global generator is left as it was."""
        from transformers import AutoModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        with torch.random.fork_rng(devices=[]):
            network = AutoModel.from_pretrained(
                self.folder, local_files_only=True, dtype=torch.float32
            )
        return network.eval()


@dataclass(frozen=True)
class Family:
    """One sort of network.

    Args:
        readings: (its source) to how the files of each kind come to it.
        prepare: (a decoded array, its source) to what of it is stored where the network is trained:
            one shape for all recordings; it does not scale.
        inputs: (stored arrays (B, ...), its source) to the network's input, scaled.
        features: (the network, its input, its source) to (B, pieces, features).
        width: (its configuration) to the number of features.
        shape: (how files come to it, settings, its source) to that of a prepared array.
        axes: of a prepared array.
        dtype: of a prepared array.
    """

    readings: Callable[[Source], dict[str, Reading]]
    prepare: Callable[[np.ndarray, Source], np.ndarray]
    inputs: Callable[[Tensor, Source], Tensor]
    features: Callable[[Any, Tensor, Source], Tensor]
    width: Callable[[Mapping[str, Any]], int]
    shape: Callable[[Reading, Any, Source], tuple[int, ...]]
    axes: tuple[str | int, ...] = ("pieces", 3, "H", "W")
    dtype: str = "uint8"


def sized(kind: str, source: Source) -> dict[str, int]:
    """Settings of a kind of pictures that the network prescribes."""
    height, width = source.side_px
    return {f"{kind}_height_px": height, f"{kind}_width_px": width}


def as_it_is(pictures: np.ndarray, source: Source) -> np.ndarray:
    """Pictures are stored as they are decoded."""
    return pictures


def pixels(pictures: Tensor, source: Source) -> Tensor:
    """Pictures (..., 3, H, W) of 0 to 255, scaled as the network's preprocessing says."""
    factor = source.inputs.get("rescale_factor", 1 / 255)
    centre, spread = (
        torch.tensor(source.inputs[name], device=pictures.device)[:, None, None]
        for name in ("image_mean", "image_std")
    )
    return (pictures.float() * factor - centre) / spread


def pictures_shape(reading: Reading, settings: Any, source: Source) -> tuple[int, ...]:
    """Pieces, 3, height, width."""
    return reading.pieces(settings), 3, *source.side_px


def photo_readings(source: Source) -> dict[str, Reading]:
    """Photos, and frames of a video one by one."""
    return {
        "image": Reading(
            image.decode_bicubic, sized("image", source), lambda settings: settings.image_views
        ),
        "video": Reading(
            video.decode_frames,
            sized("video", source),
            lambda settings: settings.video_frames,
            ordered=True,
        ),
    }


def photo_features(network: Any, pictures: Tensor, source: Source) -> Tensor:
    """(B, P, 3, H, W) to the class token and the mean of the patches of each: (B, P, 2 hidden)."""
    tokens = network(pictures.flatten(0, 1)).last_hidden_state
    special = 1 + source.network.get("num_register_tokens", 0)
    both = torch.cat([tokens[:, 0], tokens[:, special:].mean(dim=1)], dim=1)
    return both.unflatten(0, pictures.shape[:2])


def clip_readings(source: Source) -> dict[str, Reading]:
    """As many frames of a video as the network reads at a time, spread over the arc."""
    frames, pieces = source.network["frames_per_clip"], clip_pieces(source)
    fixed = sized("video", source) | {"video_frames": frames}
    return {"video": Reading(video.decode_frames, fixed, lambda _: pieces, ordered=True)}


def clip_pieces(source: Source) -> int:
    """Stretches of time that the network tells apart."""
    return int(source.network["frames_per_clip"] // source.network["tubelet_size"])


def clip_features(network: Any, frames: Tensor, source: Source) -> Tensor:
    """(B, T, 3, H, W) to the mean over the picture of each stretch of time: (B, stretches,
    hidden).
    """
    tokens = network.get_vision_features(frames)
    return tokens.unflatten(1, (clip_pieces(source), -1)).mean(dim=2)


def clip_shape(reading: Reading, settings: Any, source: Source) -> tuple[int, ...]:
    """Frames, 3, height, width."""
    return source.network["frames_per_clip"], 3, *source.side_px


def sound_readings(source: Source) -> dict[str, Reading]:
    """Stretches of a sound at the network's rate."""
    fixed = {"audio_sample_rate_hz": source.inputs["sampling_rate"]}
    return {"audio": Reading(audio.decode_samples, fixed, lambda _: STRETCHES, ordered=True)}


def stretches(samples: np.ndarray, source: Source) -> np.ndarray:
    """Sound (samples,) to the spectrograms of its stretches, float32 (4, frames, bands): evenly
    placed from its start to its end. By the network's own extractor, which scales them too.
    """
    extract, rate = extractor(str(source.folder)), source.inputs["sampling_rate"]
    length = round(source.inputs["max_length"] * 0.01 * rate)  # a frame a hundredth of a second
    starts = np.linspace(0, max(0, len(samples) - length), STRETCHES).astype(int)
    spectra = {
        start: extract(
            samples[start : start + length], sampling_rate=rate, return_tensors="np"
        ).input_values[0]
        for start in sorted(set(starts.tolist()))
    }
    return np.stack([spectra[start] for start in starts.tolist()]).astype(np.float32)


@lru_cache
def extractor(folder: str) -> Any:
    """What makes spectrograms for a network, from its folder."""
    from transformers import AutoFeatureExtractor

    return AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)


def sound_features(network: Any, spectra: Tensor, source: Source) -> Tensor:
    """(B, S, frames, bands) to (B, S, hidden)."""
    pooled = network(spectra.flatten(0, 1)).pooler_output
    return pooled.unflatten(0, spectra.shape[:2])


def sound_shape(reading: Reading, settings: Any, source: Source) -> tuple[int, ...]:
    """Stretches, frames, bands."""
    return STRETCHES, source.inputs["max_length"], source.inputs["num_mel_bins"]


PHOTOS = Family(
    photo_readings,
    as_it_is,
    pixels,
    photo_features,
    lambda network: 2 * network["hidden_size"],
    pictures_shape,
)
CLIPS = Family(
    clip_readings,
    as_it_is,
    pixels,
    clip_features,
    lambda network: network["hidden_size"],
    clip_shape,
)
SOUNDS = Family(
    sound_readings,
    stretches,
    lambda spectra, _: spectra,
    sound_features,
    lambda network: network["hidden_size"],
    sound_shape,
    axes=("stretches", "frames", "bands"),
    dtype="float32",
)
FAMILIES = {
    "dinov2": PHOTOS,
    "dinov3_vit": PHOTOS,
    "vjepa2": CLIPS,
    "audio-spectrogram-transformer": SOUNDS,
}
