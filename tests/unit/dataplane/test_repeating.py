"""Which bytes are the head that is known."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.endpoints.inference import BY_PATH
from gateway.dataplane.exchange import Exchange
from gateway.dataplane.repeating import MOST, TRIES, Repeated
from gateway.kernel.errors import GatewayError, Kind

KEY = b"authorization: Bearer gw_live_0123"
REFUSAL = GatewayError(Kind.INVALID, "refused", "Refused.")
LINES = [b"Host: x", b"Content-Type: application/json", KEY, b"Content-Length: 12", b"User-Agent: one"]


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([b"POST /v1/chat/completions HTTP/1.1", *lines, b"", b""])


def told(data: bytes) -> list[tuple[bytes, bytes]]:
    lines = data.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]


def seen(repeated: Repeated, data: bytes, **fields: Any) -> bool:
    """The parser has read a request with this head; whether it was looked at more closely."""
    nobody: Any = None
    exchange = Exchange(nobody, nobody, BY_PATH[b"/v1/chat/completions"], told(data), "req_1", True, True)
    for name, value in fields.items():
        setattr(exchange, name, value)
    repeated.note(exchange, told(data))
    noted = repeated.noted
    if noted:
        repeated.learn(data)
    return noted


def knowing(*lines: bytes) -> Repeated:
    repeated = Repeated()
    for _ in range(2):
        seen(repeated, head(*lines))
    return repeated


@pytest.mark.parametrize("place", range(len(LINES)))
def test_a_head_is_found_wherever_its_length_stands(place: int) -> None:
    lines = [line for line in LINES if not line.startswith(b"Content-Length")]
    repeated = knowing(*lines[:place], b"content-length:12", *lines[place:])
    assert repeated.known
    for digits in (b"0", b"7", b"12", b"1234567890"):
        sent = head(*lines[:place], b"content-length:" + digits, *lines[place:])
        assert repeated.find(sent + b"body") == len(sent)
        assert repeated.length == int(digits)
        assert repeated.lines() == told(sent)
    assert (repeated.has_secret, repeated.authorization) == (True, KEY.partition(b": ")[2])


@given(st.data())
def test_a_head_with_another_byte_is_another(data: st.DataObject) -> None:
    sent = head(*LINES)
    at = data.draw(st.integers(0, len(sent) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != sent[at]))
    other = sent[:at] + bytes([byte]) + sent[at + 1 :]
    size = knowing(*LINES).find(other + b"body")
    is_length = sent.index(b"12\r") <= at < sent.index(b"12\r") + 2 and chr(byte).isdecimal() and byte < 128
    assert size == (len(sent) if is_length else 0)


@given(st.integers(0, len(head(*LINES)) - 1))
def test_a_head_that_is_not_whole_is_not_found(size: int) -> None:
    assert knowing(*LINES).find(head(*LINES)[:size]) == 0


@pytest.mark.parametrize("digits", [b"", b"-1", b"+1", b"1 2", b"1_0", b"0x1", b"12345678901", b"1e3", b"\xb2"])
def test_what_is_no_length_is_for_the_parser(digits: bytes) -> None:
    lines = [b"content-length: " + digits if line.startswith(b"Content-Length") else line for line in LINES]
    assert knowing(*LINES).find(head(*lines)) == 0


@pytest.mark.parametrize(
    "line", [b"expect: 100-continue", b"transfer-encoding: chunked", b"upgrade: h2c", b"content-encoding: identity"]
)
def test_what_has_more_to_it_is_for_the_parser(line: bytes) -> None:
    assert not knowing(*LINES, line).known


def test_without_a_length_nothing_is_known() -> None:
    assert not knowing(*[line for line in LINES if not line.startswith(b"Content-Length")]).known


@pytest.mark.parametrize("fields", [{"refusal": REFUSAL}, {"keep_alive": False}, {"http11": False}])
def test_what_was_refused_or_is_the_last_or_of_another_version_is_not_kept(fields: dict[str, Any]) -> None:
    repeated = Repeated()
    for _ in range(2):
        seen(repeated, head(*LINES), **fields)
    assert not repeated.known


def test_a_large_head_is_not_kept() -> None:
    assert knowing(*LINES, b"x: " + b"a" * (MOST // 2)).known
    assert not knowing(*LINES, b"x: " + b"a" * MOST).known


def test_a_connection_of_one_request_keeps_nothing() -> None:
    repeated = Repeated()
    seen(repeated, head(*LINES))
    assert not repeated.known


def test_heads_that_never_come_again_are_not_kept_for_ever() -> None:
    repeated = Repeated()
    kept = 0
    for number in range(100):
        sent = head(*LINES, b"x: %d" % number)
        assert not repeated.known or not repeated.find(sent)
        kept += seen(repeated, sent)
    assert kept == TRIES


def test_a_head_that_changes_now_and_then_is_kept_anew() -> None:
    repeated = Repeated()
    for number in range(10 * TRIES):
        sent = head(*LINES, b"x: %d" % number)
        seen(repeated, sent)
        if number:
            assert repeated.find(sent) == len(sent)
