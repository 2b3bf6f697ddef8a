"""A request as the choice of targets sees it, without a connection."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.dataplane import body as bodies
from gateway.dataplane.endpoints.inference import ENDPOINTS
from gateway.dataplane.exchange import Exchange

_BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}


def asked(
    endpoint: str = "chat.completions", *, organization: str = "acme", credential: str = "unit", **fields: Any
) -> Exchange:
    """A request for the model ``m`` with further ``fields``."""
    document = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    nobody: Any = None
    exchange = Exchange(nobody, nobody, _BY_NAME[endpoint], [], "req_1", True, True)
    exchange.raw = orjson.dumps(document)
    exchange.fields = bodies.decode(exchange.raw)
    exchange.model = "m"
    exchange.max_tokens = bodies.max_tokens_of(exchange.fields, 1)
    exchange.organization = organization
    exchange.credential = credential
    return exchange
