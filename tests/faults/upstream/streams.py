"""Streams that go wrong. Asked for a whole answer, the same upstream goes wrong in the same way within its body."""

from __future__ import annotations

import orjson

from tests.faults.upstream.call import ERROR, Call
from tests.faults.upstream.registry import fault
from tests.support.raw_upstream import answer

HUGE = 5_000_000


@fault("stream-cut", "closes the connection in mid-answer")
async def cut(call: Call) -> None:
    if call.stream:
        await call.words()
    else:
        await call.send(answer(call.whole())[:-40])
    call.close()


@fault("stream-reset", "resets the connection in mid-answer")
async def reset(call: Call) -> None:
    if call.stream:
        await call.words()
    else:
        await call.send(answer(call.whole())[:-40])
    call.close(reset=True)


@fault("stream-stall", "falls silent in mid-answer")
async def stall(call: Call) -> None:
    if call.stream:
        await call.words()
    else:
        await call.send(answer(call.whole())[:-40])
    await call.gone()


@fault("malformed-chunk", "sends JSON that is none in mid-answer")
async def malformed(call: Call) -> None:
    if call.stream:
        await call.words()
        await call.go_on(call.piece(" half")[:-9] + b"\n\n")
        await call.gone()
    else:
        await call.send(answer(call.whole()[:-40]))


@fault("missing-terminator", "ends its stream in mid-answer as if it were whole")
async def missing_terminator(call: Call) -> None:
    if call.stream:
        await call.words()
        await call.finish()
    else:
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + call.whole()[:-40])
        call.close()


@fault("missing-done", "says that its answer is whole and leaves out the terminator")
async def missing_done(call: Call) -> None:
    if call.stream:
        await call.begin(*call.events())
        await call.finish()
    else:
        await call.reply()


@fault("error-event-first", "begins its stream with an error")
async def error_event_first(call: Call) -> None:
    if call.stream:
        await call.begin(call.error())
        await call.finish()
    else:
        await call.send(answer(orjson.dumps(ERROR)))


@fault("error-event", "reports an error in mid-stream")
async def error_event(call: Call) -> None:
    if call.stream:
        await call.words()
        await call.go_on(call.error())
        await call.gone()
    else:
        await call.send(answer(orjson.dumps(ERROR)))


@fault("huge-event", "sends five megabytes in one event")
async def huge_event(call: Call) -> None:
    if call.stream:
        events = call.events()
        padding = b', "padding": "' + b"x" * HUGE + b'"}\n\n'
        events[call.started] = events[call.started].removesuffix(b"}\n\n") + padding
        await call.begin(*events, *call.end())
        await call.finish()
    else:
        await call.send(answer(call.whole()[:-1] + b', "padding": "' + b"x" * HUGE + b'"}'))


@fault("endless-event", "sends an event that does not end")
async def endless_event(call: Call) -> None:
    if call.stream:
        await call.words()
        await call.go_on(call.piece(" endless")[:-9])
    else:
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    try:
        while not call.peer.writer.is_closing():
            await call.send(piece)
    except ConnectionError:
        await call.gone()
