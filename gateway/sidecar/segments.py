"""Pieces of the files that workers append usage events to, as batches for the ledger."""

from __future__ import annotations

from gateway.bus.usage import Piece
from gateway.bus.usage_files import Segment, pieces
from gateway.domain.ledger.ingest import KEPT_TEXT, Batch, Line

MOST = 3_000
"""Lines of a batch: the more there are, the fewer times a page of the database is written for them."""


def read(segment: Segment, source: str, position: int) -> list[Batch]:
    """What is complete behind ``position``, in batches: of what is far behind, about :data:`MOST` lines at once.

    See :func:`gateway.bus.usage_files.pieces`.
    """
    batches: list[Batch] = []
    while sum(len(batch.lines) for batch in batches) < MOST:
        found = [batch_of(source, piece) for piece in pieces(segment, position)]
        if not found:
            break
        batches += found
        position = found[-1].end
    return _joined(batches)


def _joined(batches: list[Batch]) -> list[Batch]:
    """Batches that follow one another as one, as far as that has at most :data:`MOST` lines."""
    joined: list[Batch] = []
    for batch in batches:
        before = joined[-1] if joined else None
        if before is not None and len(before.lines) + len(batch.lines) <= MOST:
            joined[-1] = Batch(batch.source, before.begin, batch.end, [*before.lines, *batch.lines])
        else:
            joined.append(batch)
    return joined


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
