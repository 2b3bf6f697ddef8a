"""Metrics on their way from the sidecar to the worker that is scraped, which tells them beside its own."""

from __future__ import annotations

import msgspec
from msgspec import Struct

PATH = "/internal/metrics"


class Family(Struct, frozen=True, array_like=True):
    """A metric as prometheus-client has it: ``samples`` are names, labels and values."""

    name: str
    help: str
    type: str
    samples: list[tuple[str, dict[str, str], float]]


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(list[Family]).decode
