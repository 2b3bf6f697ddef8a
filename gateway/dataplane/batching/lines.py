"""The lines of a batch: what is asked, and what is written of each answer.

Source: OpenAI API reference, "Batch": "The request input object", "The request output object". The body of a line and
of an answer stay the bytes they came as.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any, Final, NamedTuple

import msgspec
import orjson
from msgspec import Raw, Struct

from gateway.dataplane.batching.records import Batch, Fault
from gateway.dataplane.endpoints.inference import BY_PATH, Endpoint
from gateway.settings.model import Batches

ENDPOINTS: Final = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions")
MAX_ID: Final = 256
"""Characters of a ``custom_id``."""
MAX_FAULTS: Final = 100
"""Faults of a file that are told."""
_PIECE: Final = 262_144  # bytes read at once
_REST: Final = 0.002  # seconds
_WORK: Final = 0.001  # seconds

_UNANSWERED: Final = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "This request was not executed: the batch was cancelled."),
    "failed": ("batch_failed", "This request was not executed: the batch ended before its turn came."),
}


class Line(Struct, forbid_unknown_fields=True):
    """One request of a batch."""

    custom_id: str
    method: str
    url: str
    body: Raw


class _Body(Struct):
    model: Any = None
    stream: Any = None
    background: Any = None


_line: Final = msgspec.json.Decoder(Line).decode
_body: Final = msgspec.json.Decoder(_Body).decode


def spec_of(endpoint: str) -> Endpoint:
    """The inference endpoint behind a batch's."""
    return BY_PATH[endpoint.encode()]


class Halted(Exception):
    """Work in a thread was given up: the process is leaving. Another does it anew."""


class Gentle:
    """Keeps a thread's share of the interpreter small: after a millisecond of work it rests for two, so that the
    event loop, which serves live requests in the same process, never waits longer than that. ``halt`` is set when the
    work is to be given up.
    """

    def __init__(self, halt: Event) -> None:
        self._halt = halt
        self._began = time.monotonic()

    def rest(self) -> None:
        """Called between two pieces of work. Raises :class:`Halted`."""
        if time.monotonic() - self._began >= _WORK:
            if self._halt.wait(_REST):
                raise Halted
            self._began = time.monotonic()


class Spot(NamedTuple):
    """Where a line is: its number and where its bytes begin, both from 0, and how many they are."""

    number: int
    offset: int
    length: int


def read_lines(path: Path, longest: int) -> Iterator[tuple[Spot, bytes | None]]:
    """The lines of a file; None in place of one of more than ``longest`` bytes. Empty ones are left out. Memory holds
    one line at most, and a piece of the file.
    """
    with path.open("rb", buffering=_PIECE) as file:
        number = offset = 0
        while line := file.readline(longest + 2):
            length = len(line)
            piece = line
            while not piece.endswith(b"\n") and (piece := file.readline(_PIECE)):
                length += len(piece)
            if length > longest + 2 or len(line.rstrip(b"\r\n")) > longest:
                yield Spot(number, offset, length), None
            elif stripped := line.strip():
                yield Spot(number, offset, length), stripped
            number += 1
            offset += length


def read_line(path: Path, spot: Spot) -> Line:
    """One line of a file that was checked."""
    with path.open("rb", buffering=0) as file:
        file.seek(spot.offset)
        return _line(file.read(spot.length) or b"")


class Checked(Struct):
    """What was found in a file: its lines, and what is wrong with them."""

    total: int
    faults: list[Fault]


def unanswered(path: Path, longest: int, answered: Sequence[int], gentle: Gentle) -> Iterator[Spot]:
    """The lines of a file but those of these numbers, which are in their order. Raises as it goes on."""
    known = iter(answered)
    skipped = next(known, None)
    for spot, _ in read_lines(path, longest):
        if spot.number == skipped:
            skipped = next(known, None)
            gentle.rest()
        else:
            yield spot


def check_file(path: Path, endpoint: str, limits: Batches, longest: int, gentle: Gentle) -> Checked:
    """Check every line of an input file. Raises :class:`OSError` and :class:`Halted`."""
    known: set[str] = set()
    faults: list[Fault] = []
    total = 0
    for spot, line in read_lines(path, longest):
        gentle.rest()
        total += 1
        if total > limits.max_lines:
            message = f"The file has too many lines: a batch may have {limits.max_lines} requests."
            return Checked(total, [*faults, Fault("too_many_requests", message)])
        fault = check_line(line, endpoint, known, longest)
        if fault is not None:
            fault.line = spot.number + 1
            faults.append(fault)
            if len(faults) >= MAX_FAULTS:
                break
    if not total:
        faults.append(Fault("empty_file", "The input file is empty: expected a JSON object on each line."))
    return Checked(total, faults)


def check_line(line: bytes | None, endpoint: str, known: set[str], longest: int) -> Fault | None:
    """What is wrong with a line, None where it can be asked; its ``custom_id`` is added to ``known``."""
    if line is None:
        return Fault("line_too_long", f"The line is longer than the {longest} bytes that a request may have.")
    try:
        line.decode()
        found = _line(line)
    except msgspec.ValidationError as error:
        return Fault("invalid_request", f"The line is no request of a batch: {error}.")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Fault("invalid_json_line", "This line is not parseable as valid JSON.")
    if not 1 <= len(found.custom_id) <= MAX_ID:
        return Fault("invalid_custom_id", f"'custom_id' must have from 1 to {MAX_ID} characters.", "custom_id")
    if found.custom_id in known:
        message = "The custom_id of this line is that of an earlier one: each must be unique in the file."
        return Fault("duplicate_custom_id", message, "custom_id")
    known.add(found.custom_id)
    if found.method != "POST":
        return Fault("invalid_method", "Invalid value for 'method': expected 'POST'.", "method")
    if found.url != endpoint:
        message = f"Invalid value for 'url': expected the batch's endpoint, '{endpoint}'."
        return Fault("mismatched_endpoint", message, "url")
    return _check_body(found.body)


def _check_body(raw: Raw) -> Fault | None:
    try:
        body = _body(raw)
    except (msgspec.DecodeError, RecursionError):
        return Fault("invalid_body", "Invalid value for 'body': expected an object.", "body")
    if not isinstance(body.model, str) or not body.model:
        return Fault("missing_required_parameter", "Missing required parameter: 'body.model'.", "body.model")
    for name, given in (("stream", body.stream), ("background", body.background)):
        if given not in (None, False):
            message = f"'{name}' can't be used in a batch: leave it out."
            return Fault("unsupported_parameter", message, f"body.{name}")
    return None


# what is written


def answer_line(batch: Batch, number: int, custom_id: str, status: int, request_id: str, body: bytes) -> bytes:
    """The line of an answer, its end included."""
    head = b'{"id":%b,"custom_id":%b,"response":{"status_code":%d,"request_id":%b,"body":' % (
        _text(request_of(batch, number)),
        _text(custom_id),
        status,
        _text(request_id),
    )
    return b'%b%b},"error":null}\n' % (head, _on_one_line(body))


def unanswered_line(batch: Batch, number: int, custom_id: str) -> bytes:
    """The line of a request that was never answered, because of how the batch ended."""
    code, message = _UNANSWERED[batch.ends_as]
    if batch.ends_as == "failed" and batch.faults:
        message = f"{message} {batch.faults[0].message}"
    document = {
        "id": request_of(batch, number),
        "custom_id": custom_id,
        "response": None,
        "error": {"code": code, "message": message},
    }
    return orjson.dumps(document) + b"\n"


def request_of(batch: Batch, number: int) -> str:
    """The id of a line's request, the same however often it is asked."""
    return f"batch_req_{batch.id.removeprefix('batch_')}_{number}"


def _on_one_line(body: bytes) -> bytes:
    """JSON without line breaks, which can only be between its tokens; what is no JSON becomes a text."""
    try:
        if not body.isascii():
            body.decode()
        msgspec.json.decode(body, type=Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return orjson.dumps(body.decode("utf-8", "replace"))
    return body.replace(b"\r", b" ").replace(b"\n", b" ").strip()


def _text(value: str) -> bytes:
    return msgspec.json.encode(value)
