"""A compressed text is unpacked whole, or not at all."""

from __future__ import annotations

import gzip

import pytest

from quadlib.data.decoding import expansion
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.packed import unpack


def test_members_and_padding_are_read_as_gzip_reads_them(tmp_path):
    content = gzip.compress(b"a,b\n") + gzip.compress(b"1,2\n" * 1000) + bytes(512)
    assert unpack(tmp_path / "a.csv.gz", content) == gzip.decompress(content)


@pytest.mark.parametrize(
    "content",
    [b"a,b", gzip.compress(b"1,2\n" * 1000)[:-9], b"\x1f\x8b"],
    ids=["no gzip", "cut short", "a head alone"],  # a gzip's own bytes hold the time
)
def test_what_is_none_or_cut_short_is_named(tmp_path, content):
    with pytest.raises(DamageError, match=r"a.csv.gz: is not a readable gzip file"):
        unpack(tmp_path / "a.csv.gz", content)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(expansion, "FREE_BYTES", 10_000)
    most = gzip.compress(bytes(10_000))
    assert len(unpack(tmp_path / "a.gz", most)) == 10_000
    for bomb in (gzip.compress(bytes(10**7)), most * 50):
        with pytest.raises(DamageError, match=r"unpack to more than .* MiB; .*unpack it"):
            unpack(tmp_path / "a.gz", bomb)
