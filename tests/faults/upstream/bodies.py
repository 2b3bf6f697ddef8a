"""Answers that are none, or are not what their headers say."""

from __future__ import annotations

import gzip

from tests.faults.upstream.call import Call
from tests.faults.upstream.registry import fault
from tests.support.raw_upstream import STREAM_HEAD, answer, chunk

_PAGE = b"<html><body>Welcome to the captive portal.</body></html>"
_ERROR = b'{"error":{"message":"The model is overloaded.","type":"server_error","param":null,"code":503}}'


@fault("html-200", "answers 200 with a page")
async def html(call: Call) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n" % len(_PAGE)
    await call.send(head + _PAGE)


@fault("html-as-json", "answers 200 with a page that it calls JSON")
async def html_as_json(call: Call) -> None:
    await call.send(answer(_PAGE))


@fault("error-200", "answers 200 with an error for a body")
async def error_200(call: Call) -> None:
    await call.send(answer(_ERROR))


@fault("empty-200", "answers 200 with no body")
async def empty_200(call: Call) -> None:
    await call.send(answer(b""))


@fault("length-too-long", "promises more bytes than it sends, and closes")
async def length_too_long(call: Call) -> None:
    await call.send(_lying(call, +50))
    call.close()


@fault("length-too-short", "sends more bytes than it promised")
async def length_too_short(call: Call) -> None:
    await call.send(_lying(call, -50))
    await call.gone()


def _lying(call: Call, by: int) -> bytes:
    kind = b"text/event-stream" if call.stream else b"application/json"
    body = b"".join((*call.events(), *call.end())) if call.stream else call.whole()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (kind, len(body) + by)
    return head + body


@fault("wrong-chunk-size", "sends a chunk that is longer than its size says")
async def wrong_chunk_size(call: Call) -> None:
    if call.stream:
        await call.words()
        event = call.piece(" never")
        await call.send(b"%x\r\n%b\r\n" % (len(event) - 7, event))
    else:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        body = call.whole()
        await call.send(head, b"%x\r\n%b\r\n" % (len(body) - 7, body))
    await call.gone()


@fault("gzip", "compresses its answer unasked")
async def gzipped(call: Call) -> None:
    if call.stream:
        body = gzip.compress(b"".join((*call.events(), *call.end())))
        await call.send(STREAM_HEAD[:-2] + b"content-encoding: gzip\r\n\r\n", chunk(body))
        await call.finish()
    else:
        await call.send(answer(gzip.compress(call.whole()), b"content-encoding: gzip"))


@fault("invalid-utf8", "sends bytes that are no text")
async def invalid_utf8(call: Call) -> None:
    if call.stream:
        await call.words()
        bad = call.piece(" caf#").replace(b"#", b"\xe9\xff")
        await call.go_on(bad, *call.events()[call.started + 4 :], *call.end())
        await call.gone()
    else:
        await call.send(answer(call.whole("caf_").replace(b"_", b"\xe9\xff")))
