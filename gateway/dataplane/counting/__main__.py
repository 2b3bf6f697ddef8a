"""The process that counts: asks on standard input, answers on standard output, until the input ends."""

from __future__ import annotations

import signal
import sys
from typing import BinaryIO

import msgspec
import toktok

from gateway.dataplane.counting.texts import Texts, of_answer, of_request
from gateway.dataplane.counting.wire import HEAD, Ask, Counted


def count(ask: Ask) -> Counted:
    """How many tokens are asked about."""
    prompt = 0
    if ask.request is not None:
        try:
            texts = of_request(ask.endpoint, ask.request)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            texts = Texts()
        prompt = texts.tokens + _tokens(texts.texts, ask.vocabulary)
    answer = of_answer(ask.produced)
    text, thoughts = _tokens(answer.texts, ask.vocabulary), _tokens(answer.thoughts, ask.vocabulary)
    if ask.produced.lost:
        kept = sum(len(part.encode()) for part in (*answer.texts, *answer.thoughts))
        text += round(ask.produced.lost * (text + thoughts) / max(kept, 1))
    return Counted(ask.number, prompt, text + thoughts, thoughts)


def _tokens(texts: list[str], vocabulary: str) -> int:
    # One thread: the others of this machine have requests to serve.
    return sum(toktok.batch_count(texts, vocabulary, 1)) if texts else 0


def serve(asks: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the input ends."""
    decode, encode = msgspec.msgpack.Decoder(Ask).decode, msgspec.msgpack.Encoder().encode
    while len(head := asks.read(HEAD)) == HEAD:
        body = encode(count(decode(asks.read(int.from_bytes(head)))))
        answers.write(len(body).to_bytes(HEAD) + body)
        answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the worker that started it
    serve(sys.stdin.buffer, sys.stdout.buffer)
