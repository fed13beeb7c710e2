"""aiSFX (Ma and Lerch, ISMIR 2022), trained to sort libraries of sound effects: 512 numbers of
2.3 s of sound. Its weights, 25 MB, come with pip.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quadlib.data.decoding.bins import bin_edges
from quadlib.data.kinds import audio
from quadlib.files import digest_file
from quadlib.model.encoders.frozen import FrozenEncoder, Reading, file_of_package

RATE_HZ = 44100
WINDOW, HOP = 2048, 1024  # samples
BANDS = 96
BLOCK, BLOCK_HOP = 100, 50  # spectra that the network reads at a time, and between two readings
BRIGHTEST = 9.457798957824707  # of all spectra that it was trained on: its unit
STRETCHES = 4  # of a recording, of which features are kept: the mean over the blocks in each
COMMAND = "pip install --no-deps aisfx==0.1.2"


def weights_path() -> Path:
    """The file of its weights. Raises EncoderError where the package is missing."""
    return file_of_package("aisfx", "models/checkpoint.pth", COMMAND)


@lru_cache
def weights() -> str:
    """SHA-256 of its weights."""
    return digest_file(weights_path())


@lru_cache
def network(device: str) -> Any:
    """The network on a device, in evaluation mode."""
    from aisfx.models.cnn2d import EmbeddingNet

    # beside the weights stand sizes of its training sets, as numpy's numbers
    scalar: Any = np.int64(0).__reduce__()[0]
    safe: list[Any] = [(scalar, "numpy.core.multiarray.scalar"), np.dtype, type(np.dtype(np.int64))]
    with torch.serialization.safe_globals(safe):
        state, _ = torch.load(weights_path(), map_location="cpu", weights_only=True)
    own = "embedding_net."
    with torch.device("meta"):  # nothing is drawn: the global generator stays where it is
        model = EmbeddingNet("max", 3, 1, 64)
    model.load_state_dict(
        {name.removeprefix(own): value for name, value in state.items() if name.startswith(own)},
        assign=True,
    )
    return model.eval().requires_grad_(False).to(device)


@lru_cache
def mel_filters() -> Tensor:
    """(1025, 96): triangles on the mel scale of the HTK, drawn on it, each of sum 1."""
    mel = 2595 * np.log10(1 + np.arange(WINDOW // 2 + 1) * RATE_HZ / WINDOW / 700)
    edges = np.linspace(0, mel[-1], BANDS + 2)
    rising = (mel[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - mel[:, None]) / np.diff(edges)[1:]
    triangles = np.maximum(np.minimum(rising, falling), 0)
    return torch.from_numpy(triangles / triangles.sum(axis=0)).float()


def spectra(samples: Tensor) -> Tensor:
    """Sound (samples,) at 44.1 kHz, full scale 1, to (spectra, 96), 0 for silence and about 1 for
    full scale: log10(1 + 10,000 x) of the power in each band.
    """
    window = torch.hann_window(WINDOW, periodic=False, device=samples.device)
    power = (
        torch.stft(samples, WINDOW, HOP, window=window, pad_mode="constant", return_complex=True)
        .abs()
        .square()
    )
    return torch.log10(1 + 1e4 * (power.T @ mel_filters().to(samples.device))) / BRIGHTEST


@torch.inference_mode()
def encode(samples: np.ndarray, device: str) -> np.ndarray:
    """Sound float32 (samples,) at 44.1 kHz to float32 (4, 512), a row for each quarter of it.

    Blocks overlap by half or more, so that the last one ends with the sound; one that is shorter
    than a block is followed by silence.
    """
    levels = spectra(torch.from_numpy(samples).to(device))
    missing = max(0, BLOCK - len(levels))
    levels = torch.nn.functional.pad(levels, (0, 0, 0, missing))
    last = len(levels) - BLOCK
    starts = np.linspace(0, last, 1 + -(-last // BLOCK_HOP)).round().astype(int)
    blocks = torch.stack([levels[start : start + BLOCK] for start in starts])
    features = torch.cat([network(device)(block[None]) for block in blocks])
    firsts, ends = bin_edges(0, len(features), STRETCHES)
    kept = [features[first:end].mean(0) for first, end in zip(firsts, ends, strict=True)]
    return torch.stack(kept).cpu().numpy()


ENCODER = FrozenEncoder(
    features=512,
    readings={
        "audio": Reading(
            audio.decode_samples,
            {"audio_sample_rate_hz": RATE_HZ},
            lambda _: STRETCHES,
            ordered=True,
        )
    },
    encode=encode,
    weights=weights,
    preprocessing={"spectra": [WINDOW, HOP, BANDS, BLOCK, BLOCK_HOP, STRETCHES], "version": 1},
)
