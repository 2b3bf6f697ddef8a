"""What an upstream's answer is made of: its media type, and gzip, deflate and br, decoded as they come."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import brotli

Decoder = Callable[[bytes, int], bytes]
"""Takes the next bytes and the most bytes it may return; raises :class:`ValueError` on bad or oversized input."""


_SUBTITLES = (b"application/x-subrip", b"application/srt", b"application/vtt", b"application/ttml+xml")


def is_text(content_type: bytes) -> bool:
    """Whether a ``Content-Type`` value is that of words without JSON around them: a plain text, subtitles."""
    kind = content_type.partition(b";")[0].strip().lower()
    return kind != b"text/event-stream" and (kind.startswith(b"text/") or kind in _SUBTITLES)


def decoder_for(encoding: bytes) -> Decoder | None:
    """A decoder for a ``Content-Encoding`` value (RFC 9110 §8.4), or None for one that isn't known."""
    name = encoding.strip().lower()
    if name in (b"gzip", b"x-gzip"):
        return _zlib(zlib.MAX_WBITS | 16)
    if name == b"deflate":
        return _zlib(zlib.MAX_WBITS)
    if name == b"br":
        return _brotli()
    return None


def _zlib(window_bits: int) -> Decoder:
    inflate = zlib.decompressobj(window_bits)

    def decode(data: bytes, most: int) -> bytes:
        nonlocal inflate
        out = b""
        while data:
            if inflate.eof:
                inflate = zlib.decompressobj(window_bits)  # gzip members may follow one another (RFC 1952 §2.2)
            try:
                out += inflate.decompress(data, most - len(out) + 1)  # 0 would mean without limit
            except zlib.error as error:
                raise ValueError(f"The upstream's compressed answer is damaged: {error}.") from None
            if len(out) > most or inflate.unconsumed_tail:
                raise ValueError("The upstream's compressed answer is too large.")
            data = inflate.unused_data
        return out

    return decode


def _brotli() -> Decoder:
    inflate = brotli.Decompressor()

    def decode(data: bytes, most: int) -> bytes:
        try:
            out: bytes = inflate.process(data, output_buffer_limit=most)
        except brotli.error as error:
            raise ValueError(f"The upstream's compressed answer is damaged: {error}.") from None
        if len(out) > most or not inflate.can_accept_more_data():
            raise ValueError("The upstream's compressed answer is too large.")
        return out

    return decode
