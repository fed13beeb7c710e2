from __future__ import annotations

import pickle
import random
import zipfile

import pytest
import torch
from torch import nn

from quadlib.training.checkpoint import (
    BEST,
    LATEST,
    CheckpointError,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)


class Payload:
    def __reduce__(self):
        return (eval, ("open('canary', 'w')",))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / LATEST
    save_checkpoint(
        path,
        {
            "model": {"weight": torch.randn(64, 64, generator=torch.Generator().manual_seed(0))},
            "epoch": 3,
        },
    )
    return path


def test_round_trip(saved):
    content = load_checkpoint(saved)
    assert content["epoch"] == 3
    assert torch.equal(
        content["model"]["weight"], torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    )


def test_same_content_same_digest(saved, tmp_path):
    content = load_checkpoint(saved)
    assert save_checkpoint(tmp_path / "a.pth", content) == save_checkpoint(
        tmp_path / "b.pth", content
    )


def test_every_bit_flip_is_found_or_harmless(saved):
    whole = saved.read_bytes()
    truth = load_checkpoint(saved)
    draw = random.Random(0)
    for _ in range(200):
        broken = bytearray(whole)
        broken[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        saved.write_bytes(broken)
        try:
            content = load_checkpoint(saved)
        except CheckpointError as error:
            assert str(saved) in str(error)
        else:
            assert content["epoch"] == truth["epoch"]
            assert torch.equal(content["model"]["weight"], truth["model"]["weight"])


@pytest.mark.parametrize("length", [0, 1, 100, 5000, -1])
def test_truncation_is_found_and_names_the_other_file(saved, length):
    saved.with_name(BEST).write_bytes(saved.read_bytes())
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="The other checkpoint is .*best_model.pth"):
        load_checkpoint(saved)


def test_code_in_a_checkpoint_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw, packed = tmp_path / "raw.pth", tmp_path / "packed.pth"
    raw.write_bytes(pickle.dumps({"format": 1, "model": Payload()}))
    torch.save({"format": 1, "model": Payload()}, packed)
    for path in (raw, packed):
        with pytest.raises(CheckpointError):
            load_checkpoint(path)
    assert not (tmp_path / "canary").exists()


def test_compressed_archives_are_refused_before_they_expand(saved, tmp_path):
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    with pytest.raises(CheckpointError, match="compressed entries"):
        load_checkpoint(bomb)


def test_weights_that_do_not_fit_are_refused_with_the_whole_difference(tmp_path):
    state = {
        "weight": torch.zeros(3, 2),
        "extra": torch.zeros(1),
        "bias": torch.tensor([float("nan"), 0.0]),
    }
    with pytest.raises(CheckpointError) as caught:
        load_weights(nn.Linear(2, 2), state, tmp_path / BEST)
    text = str(caught.value)
    assert "surplus extra (1,)" in text
    assert "weight is (3, 2) in the file and (2, 2) in the model" in text
    assert "bias holds values that are not finite" in text


def test_missing_checkpoint_says_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist; train first"):
        load_checkpoint(tmp_path / BEST)
