from __future__ import annotations

import pickle
import resource
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
from tests.helpers.flips import silent


class Payload:
    def __reduce__(self):
        return (eval, ("open('canary', 'w')",))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / LATEST
    save_checkpoint(
        {
            "model": {"weight": torch.randn(64, 64, generator=torch.Generator().manual_seed(0))},
            "epoch": 3,
        },
        path,
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
    assert save_checkpoint(content, tmp_path / "a.pth") == save_checkpoint(
        content, tmp_path / "b.pth"
    )


def test_every_bit_flip_is_found(saved):
    read = lambda: load_checkpoint(saved)  # noqa: E731
    assert silent(saved, read, CheckpointError, count=500) == []
    assert silent(saved, read, CheckpointError, last=90) == []  # archive's last record, and digest


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


class Reduced:
    def __init__(self, *how):
        self.how = how

    def __reduce__(self):
        return self.how


@pytest.mark.parametrize(
    ("bomb", "words"),
    [
        (
            torch.zeros(1).expand(10**9),
            r"a tensor of \(1000000000,\), for which it would have to be larger",
        ),
        (
            [{"a": (torch.zeros(2, 1).expand(2, 10**9),)}],
            r"a tensor of \(2, 1000000000\), for which",
        ),
        (Reduced(bytearray, (3 * 10**9,)), "names __builtin__ bytearray"),
        (Reduced(torch.Tensor, (10**9,)), "names torch Tensor"),
        (Reduced(torch.FloatTensor, (10**9,)), "names torch FloatTensor"),
    ],
)
def test_a_small_file_that_asks_for_gigabytes_is_refused(tmp_path, bomb, words):
    path = tmp_path / LATEST
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.save({"format": 1, "model": bomb}, path)
    assert path.stat().st_size < 4000
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def test_plain_types_and_tensors_of_every_kind_are_read_back(tmp_path):
    content = {
        "texts": ["a", b"b", {1, 2}, 1 + 2j, None, (1.5, True)],
        "sizes": [torch.float16, torch.device("cpu"), torch.Size([2]), nn.Linear(2, 2).weight],
        "tensors": [
            torch.zeros(2, dtype=kind) for kind in (torch.bool, torch.bfloat16, torch.uint16)
        ],
        "tied": [whole := torch.arange(4.0), whole[1:]],
    }
    save_checkpoint(content, tmp_path / LATEST)
    assert load_checkpoint(tmp_path / LATEST)["texts"] == content["texts"]


def test_a_checkpoint_of_the_version_without_digest_is_read(tmp_path):
    torch.save({"format": 1, "epoch": 3}, tmp_path / LATEST)
    assert load_checkpoint(tmp_path / LATEST)["epoch"] == 3
    torch.save({"format": 2, "epoch": 3}, tmp_path / LATEST)
    with pytest.raises(CheckpointError, match="its digest is gone"):
        load_checkpoint(tmp_path / LATEST)


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
