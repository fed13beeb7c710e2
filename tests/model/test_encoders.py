from __future__ import annotations

import pytest
import torch
from torch import nn

from quadlib.model.encoders import build_encoder

SHAPES = {
    "video": (8, 2, 48, 80),
    "image": (2, 3, 48, 96),
    "audio": (2, 48, 96),
    "series": (6, 96),
    "vector": (64,),
}
ODD_SHAPES = {
    "video": (1, 2, 9, 11),
    "image": (1, 3, 8, 50),
    "audio": (2, 9, 13),
    "series": (1, 9),
    "vector": (1,),
}


def encoder_of(kind: str, shape: tuple[int, ...], width: int = 32) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return build_encoder(kind, shape, width, dropout=0.1)


def inputs_of(shape: tuple[int, ...], batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("shapes", [SHAPES, ODD_SHAPES], ids=["default", "odd"])
def test_a_token_for_each_recording_and_a_gradient_for_each_weight(kind, shapes):
    encoder = encoder_of(kind, shapes[kind])
    tokens = encoder(inputs_of(shapes[kind]))
    assert tokens.shape == (4, 32) and tokens.dtype == torch.float32
    (
        tokens * torch.randn(tokens.shape, generator=torch.Generator().manual_seed(2))
    ).sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all()
        for parameter in encoder.parameters()
    )


@pytest.mark.parametrize("kind", SHAPES)
def test_a_recording_is_encoded_alike_in_any_batch(kind):
    encoder = encoder_of(kind, SHAPES[kind]).eval()
    inputs = inputs_of(SHAPES[kind])
    changed = torch.cat([inputs[:1], 5 * inputs[1:] + 1])
    assert torch.equal(encoder(inputs)[0], encoder(changed)[0])
    torch.testing.assert_close(encoder(inputs[:1])[0], encoder(inputs)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", SHAPES)
def test_no_normalisation_over_the_batch(kind):
    encoder = encoder_of(kind, SHAPES[kind])
    assert not any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) for module in encoder.modules()
    )
    assert not list(encoder.buffers())


@pytest.mark.parametrize("kind", SHAPES)
def test_the_absolute_level_of_the_input_is_seen(kind):
    encoder = encoder_of(kind, SHAPES[kind]).eval()
    inputs = inputs_of(SHAPES[kind])
    apart = (encoder(inputs + 1.0) - encoder(inputs)).norm(dim=1)
    assert (apart > 0.1).all()


@pytest.mark.parametrize("kind", SHAPES)
def test_silence_gives_finite_tokens_and_gradients(kind):
    encoder = encoder_of(kind, SHAPES[kind])
    inputs = torch.zeros(2, *SHAPES[kind], requires_grad=True)
    encoder(inputs).sum().backward()
    assert inputs.grad is not None and inputs.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


@pytest.mark.parametrize("kind", ["video", "image"])
def test_larger_frames_get_more_stages_not_a_larger_map(kind):
    shape = (*SHAPES[kind][:2], 240, 400)
    encoder = encoder_of(kind, shape)
    assert encoder(inputs_of(shape, batch=1)).shape == (1, 32)
    assert sum(parameter.numel() for parameter in encoder.parameters()) < 250_000


def test_the_order_of_photos_does_not_matter_but_that_of_frames_does():
    photos, frames = inputs_of(SHAPES["image"]), inputs_of(SHAPES["video"])
    image, video = (
        encoder_of("image", SHAPES["image"]).eval(),
        encoder_of("video", SHAPES["video"]).eval(),
    )
    torch.testing.assert_close(image(photos.flip(1)), image(photos), rtol=1e-4, atol=1e-5)
    assert (video(frames.flip(1)) - video(frames)).abs().max() > 1e-3


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="no kind 'text'; known are video, image"):
        build_encoder("text", (3,), 32, 0.1)
