"""Compressed answers, cut anywhere."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.decoding import decoder_for

MOST = 1_000_000
ENCODERS = {
    b"gzip": gzip.compress,
    b"x-gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
}
NAMES = st.sampled_from(sorted(ENCODERS))
DATA = st.one_of(st.binary(max_size=300), st.text(max_size=5).map(lambda text: text.encode() * 2000))


def decode(name: bytes, pieces: list[bytes], most: int = MOST) -> bytes:
    decoder = decoder_for(name)
    assert decoder is not None
    return b"".join(decoder(piece, most) for piece in pieces)


@given(NAMES, DATA, st.integers(1, 64))
def test_any_cut_decodes_to_the_same(name: bytes, data: bytes, size: int) -> None:
    packed = ENCODERS[name](data)
    assert decode(name, [packed[at : at + size] for at in range(0, len(packed), size)]) == data


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4), st.integers(1, 40))
def test_gzip_members_follow_one_another(members: list[bytes], size: int) -> None:
    packed = b"".join(map(gzip.compress, members))
    assert decode(b"gzip", [packed[at : at + size] for at in range(0, len(packed), size)]) == b"".join(members)


@pytest.mark.parametrize("name", [b"GZIP", b" gzip ", b"BR"])
def test_names_in_any_case(name: bytes) -> None:
    assert decode(name, [ENCODERS[name.strip().lower()](b"text")]) == b"text"


@pytest.mark.parametrize("name", [b"zstd", b"compress", b"gzip, br", b""])
def test_other_encodings_are_not_known(name: bytes) -> None:
    assert decoder_for(name) is None


@pytest.mark.parametrize("name", sorted(ENCODERS))
@pytest.mark.parametrize("times", [1, 200])
def test_a_bomb_is_refused_before_it_is_unpacked(name: bytes, times: int) -> None:
    bomb = ENCODERS[name](b"\0" * (5 * MOST))
    step = max(1, len(bomb) // times)
    with pytest.raises(ValueError, match="too large"):
        decode(name, [bomb[at : at + step] for at in range(0, len(bomb), step)], most=1000)


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_damage_is_told(name: bytes) -> None:
    packed = bytearray(ENCODERS[name](bytes(range(256)) * 40))
    packed[: len(packed) // 2] = b"\xff" * (len(packed) // 2)
    with pytest.raises(ValueError, match="damaged"):
        decode(name, [bytes(packed)])
