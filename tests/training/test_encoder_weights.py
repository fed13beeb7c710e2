"""Frozen weights are not in a checkpoint; it knows which they were."""

from __future__ import annotations

from types import SimpleNamespace

from quadlib.data.kinds import weights_of
from quadlib.data.samples import Modality
from quadlib.model.encoders import efficientnet
from quadlib.training.state import other_weights

MODALITIES = {
    "photo": Modality("image", encoder="efficientnet_lite0"),
    "sensor": Modality("series", (6,)),
    "pose": Modality("vector", (3,), encoder="vector"),
}
TABLE = SimpleNamespace(modalities=MODALITIES)


def test_weights_from_elsewhere_are_known_by_their_digest():
    assert weights_of(MODALITIES) == {"photo": efficientnet.weights()}


def test_a_checkpoint_of_other_weights_is_noticed():
    same = {"encoder_weights": {"photo": efficientnet.weights()}}
    assert other_weights(same, TABLE) == []
    for content in ({"encoder_weights": {"photo": "other"}}, {}):
        assert other_weights(content, TABLE) == [
            "the weights of the encoder of photo, efficientnet_lite0"
        ]
