"""Pieces of the files that workers append usage events to, as batches for the ledger."""

from __future__ import annotations

from gateway.bus.usage import Piece
from gateway.bus.usage_files import Segment, pieces
from gateway.domain.ledger.ingest import KEPT_TEXT, Batch, Line


def read(segment: Segment, source: str, position: int) -> list[Batch]:
    """What is complete behind ``position``, see :func:`gateway.bus.usage_files.pieces`."""
    return [batch_of(source, piece) for piece in pieces(segment, position)]


def batch_of(source: str, piece: Piece) -> Batch:
    """The lines of a piece, each where it begins in its file; empty ones are none."""
    if piece.fault is not None:
        return Batch(source, piece.begin, piece.end, [Line(piece.begin, piece.data[:KEPT_TEXT], piece.fault)])
    lines: list[Line] = []
    at = piece.begin
    for text in piece.data.split(b"\n"):
        if text:
            lines.append(Line(at, text))
        at += len(text) + 1
    return Batch(source, piece.begin, piece.end, lines)
