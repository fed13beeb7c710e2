"""Networks of transformers, tiny and of random weights, saved to a folder and read from there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from quadlib.config import SettingsError, TrainSettings
from quadlib.data.kinds import kind_of
from quadlib.data.open import with_encoders
from quadlib.data.samples import Modality, SampleTable, input_shape
from quadlib.model.encoders.hub import network
from quadlib.model.quad import QuadModel
from quadlib.training.checkpoint import load_weights

transformers = pytest.importorskip("transformers", reason="the extra pretrained is not installed")

SIZES = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2}
PICTURES = {"rescale_factor": 0.5, "image_mean": [1.0, 2.0, 3.0], "image_std": [2.0, 4.0, 8.0]}
CROP = {"size": {"shortest_edge": 40}, "crop_size": {"height": 28, "width": 28}}
SETTINGS = TrainSettings(width=16, image_views=2, video_frames=3)


def dinov2():
    config = transformers.Dinov2Config(**SIZES, image_size=28, patch_size=14)
    return transformers.Dinov2Model(config), PICTURES | CROP


def dinov3():
    config = transformers.DINOv3ViTConfig(
        **SIZES, image_size=32, patch_size=16, intermediate_size=16, num_register_tokens=4
    )
    return transformers.DINOv3ViTModel(config), PICTURES | {"size": {"height": 32, "width": 32}}


def vjepa2():
    config = transformers.VJEPA2Config(
        **SIZES,
        crop_size=32,
        frames_per_clip=4,
        mlp_ratio=2,
        pred_hidden_size=8,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
    )
    return transformers.VJEPA2Model(config), PICTURES | {"crop_size": 32}


def ast():
    config = transformers.ASTConfig(**SIZES, intermediate_size=16, max_length=64, num_mel_bins=16)
    extractor = transformers.ASTFeatureExtractor(max_length=64, num_mel_bins=16)
    return transformers.ASTModel(config), json.loads(extractor.to_json_string())


MADE = {"dinov2": dinov2, "dinov3": dinov3, "vjepa2": vjepa2, "ast": ast}
READS = {"dinov2": "image", "dinov3": "image", "vjepa2": "video", "ast": "audio"}
RAW = {
    "dinov2": np.random.default_rng(0).integers(0, 255, (2, 3, 28, 28), dtype=np.uint8),
    "dinov3": np.random.default_rng(0).integers(0, 255, (2, 3, 32, 32), dtype=np.uint8),
    "vjepa2": np.random.default_rng(0).integers(0, 255, (4, 3, 32, 32), dtype=np.uint8),
    "ast": np.random.default_rng(0).normal(0, 0.1, 24000).astype(np.float32),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Each network in its folder, as the library and its processor save one."""
    made = {}
    for name, make in MADE.items():
        made[name] = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        model, inputs = make()
        model.save_pretrained(made[name])
        file = "video_preprocessor_config.json" if name == "vjepa2" else "preprocessor_config.json"
        (made[name] / file).write_text(json.dumps(inputs))
    return made


def modality(folders, name, tune=""):
    return Modality(READS[name], encoder=f"transformers:{folders[name]}", tune=tune)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("dinov2", (2, 16)), ("dinov3", (2, 16)), ("vjepa2", (2, 8)), ("ast", (4, 8))],
)
def test_features_are_those_of_the_network_itself(folders, name, shape):
    kind = kind_of(modality(folders, name))
    features = kind.features(RAW[name], "cpu")
    assert features.shape == shape == input_shape(modality(folders, name), SETTINGS)
    model, raw = network(folders[name], "cpu"), RAW[name]
    centre, spread = (np.array(PICTURES[key])[:, None, None] for key in ("image_mean", "image_std"))
    pixels = torch.from_numpy((raw * 0.5 - centre) / spread).float() if name != "ast" else None
    with torch.inference_mode():
        if name == "vjepa2":
            expected = model.get_vision_features(pixels[None])[0].view(2, -1, 8).mean(1)
        elif name == "ast":
            extract = transformers.ASTFeatureExtractor.from_pretrained(folders[name])
            last = extract(raw[-10240:], sampling_rate=16000, return_tensors="pt").input_values
            features, expected = features[-1:], model(last).pooler_output
        else:
            tokens = model(pixels).last_hidden_state
            patches = tokens[:, 5 if name == "dinov3" else 1 :].mean(1)
            expected = torch.cat([tokens[:, 0], patches], dim=1)
    assert np.allclose(features, expected, atol=1e-6)


def test_the_network_prescribes_its_sizes_and_rates(folders):
    fixed = {name: kind_of(modality(folders, name)).fixed for name in MADE}
    assert fixed["dinov2"] == {"image_height_px": 28, "image_width_px": 28}  # after the crop
    assert fixed["dinov3"] == {"image_height_px": 32, "image_width_px": 32}
    assert fixed["vjepa2"] == {"video_height_px": 32, "video_width_px": 32, "video_frames": 4}
    assert fixed["ast"] == {"audio_sample_rate_hz": 16000}


def tuned_model(folders, name, tune):
    spec = modality(folders, name, tune)
    frame = pd.DataFrame({"sample_id": ["a"], "label": ["x"], "group": ["s"], "split": ["train"]})
    table = SampleTable(frame.assign(m="f.x"), {"m": spec}, root=Path("."))
    kind = kind_of(spec)
    stored = RAW[name] if kind.features is None else kind.features(RAW[name], "cpu")
    assert stored.shape == input_shape(spec, SETTINGS) and str(stored.dtype) == kind.dtype
    return QuadModel.from_table(table, SETTINGS), torch.from_numpy(stored)[None].float()


@pytest.mark.parametrize("name", list(MADE))
@pytest.mark.parametrize("tune", ["last:1", "lora:2"])
def test_a_part_is_trained_and_the_rest_neither_moves_nor_is_saved(folders, name, tune, tmp_path):
    if tune.startswith("lora"):
        pytest.importorskip("peft", reason="the extra pretrained is not installed")
    model, stored = tuned_model(folders, name, tune)
    encoder = model.encoders["m"]
    before = {key: value.clone() for key, value in encoder.network.state_dict().items()}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=1.0)
    for _ in range(2):  # of a low-rank addition the second factor starts at 0
        encoder(stored).square().sum().backward()
        optimiser.step()
    moved = {
        key
        for key, value in encoder.network.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert moved and {f"network.{key}" for key in moved} <= encoder.tuned
    state = model.state_dict()
    saved = {key for key in state if ".network." in key}
    assert saved == {f"encoders.m.{key}" for key in encoder.tuned}
    again, _ = tuned_model(folders, name, tune)
    load_weights(again, state, tmp_path)
    assert torch.equal(again.eval().encoders["m"](stored), model.eval().encoders["m"](stored))


def test_tuned_pictures_are_stored_as_they_are_and_scaled_by_the_encoder(folders):
    kind = kind_of(modality(folders, "dinov2", "last:1"))
    assert kind.dtype == "uint8" and kind.scaled_by_encoder and kind.move and kind.vary is None
    frozen = kind_of(modality(folders, "dinov2"))
    assert kind.numbers(SETTINGS) != frozen.numbers(SETTINGS)  # neither is taken for the other


@pytest.mark.parametrize(
    ("encoder", "tune", "message"),
    [
        ("transformers", "", "its network is not named; write transformers:FOLDER"),
        ("transformers:nobody/nothing", "", "get it by `hf download nobody/nothing`"),
        ("transformers:/no/where/at/all", "", "is no folder here, and no OWNER/NAME of the hub"),
        ("transformers:/tmp", "", "/tmp holds no network .*; name a folder with config.json"),
        ("transformers:{dinov2}", "first:1", "'first:1' is no way of training it; write last:2"),
        ("transformers:{ast}", "", "reads audio, not image"),
        ("efficientnet_lite0:x", "", "efficientnet_lite0 is one network and stays frozen"),
        ("efficientnet_lite0", "last:1", "stays frozen; .* leave tune out"),
    ],
)
def test_what_cannot_be_is_said_with_a_way_out(folders, encoder, tune, message):
    frame = pd.DataFrame({"sample_id": ["a"], "label": ["x"], "group": ["s"], "split": ["train"]})
    table = SampleTable(frame.assign(photo="f.jpg"), {"photo": Modality("image")}, root=Path("."))
    chosen = encoder.format(**folders)
    with pytest.raises(SettingsError, match=message):
        with_encoders(table, {"photo": chosen}, {"photo": tune} if tune else {})


def test_more_blocks_than_there_are(folders):
    with pytest.raises(ValueError, match="it has 3 blocks; last:3 trains them all"):
        tuned_model(folders, "dinov2", "last:4")
