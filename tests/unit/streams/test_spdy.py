"""Frames survive the wire however it is cut, and what is no SPDY is refused."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.dataplane.streaming import spdy
from twinplane.dataplane.streaming.spdy import Decoder, Encoder, Frame, SpdyError

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20)
HEADERS = st.dictionaries(NAMES, st.text(max_size=40), max_size=6)
NUMBERS = st.integers(1, 2**31 - 1)
FRAMES = st.one_of(
    st.builds(Frame, st.just(spdy.DATA), NUMBERS, st.sampled_from([0, spdy.FIN]), st.binary(max_size=300)),
    st.builds(Frame, st.sampled_from([spdy.SYN_STREAM, spdy.SYN_REPLY]), NUMBERS, st.just(0), st.just(b""), HEADERS),
    st.builds(Frame, st.just(spdy.PING), st.integers(0, 2**32 - 1)),
    st.builds(spdy.reset, NUMBERS, st.integers(1, 11)),
    st.builds(spdy.goaway, NUMBERS),
)


def test_the_dictionary_is_the_one_that_everybody_has() -> None:
    """Its checksum travels in each compressed header block."""
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


@given(st.lists(FRAMES, max_size=8), st.integers(1, 50))
def test_frames_survive_the_wire(frames: list[Frame], size: int) -> None:
    encoder, decoder = Encoder(), Decoder()
    wire = b"".join(encoder.encode(frame) for frame in frames)
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    assert [frame for piece in pieces for frame in decoder.feed(piece)] == frames


@given(st.binary(max_size=200))
def test_anything_else_is_refused_or_ignored(data: bytes) -> None:
    with suppress(SpdyError):
        list(Decoder().feed(data))


def test_types_that_nobody_needs_are_skipped() -> None:
    window = struct.pack(">IIII", 0x80030009, 8, 1, 65536)
    settings = struct.pack(">III", 0x80030004, 4, 0)
    ping = Encoder().encode(Frame(spdy.PING, 7))
    assert list(Decoder().feed(window + settings + ping)) == [Frame(spdy.PING, 7)]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (struct.pack(">II", 0x80020001, 0), "version 2"),
        (struct.pack(">II", 0x80030001, 0xFFFFFF), "frame of"),
        (struct.pack(">III", 0x80030001, 4, 1), "with 4 bytes"),
        (struct.pack(">II", 0x80030002, 8) + bytes(8), "header block"),
    ],
)
def test_what_cannot_go_on(data: bytes, says: str) -> None:
    with pytest.raises(SpdyError, match=says):
        list(Decoder().feed(data))


def test_a_header_block_cannot_blow_up() -> None:
    deflate = zlib.compressobj(zdict=spdy.DICTIONARY)
    block = deflate.compress(bytes(10 << 20)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    frame = struct.pack(">III", 0x80030002, 4 + len(block), 1) + block
    with pytest.raises(SpdyError, match="too large"):
        list(Decoder().feed(frame))
