"""A request as the choice of targets sees it, without a connection."""

from __future__ import annotations

from typing import Any, cast

import orjson

from gateway.dataplane import body as bodies
from gateway.dataplane.endpoints.inference import ENDPOINTS
from gateway.dataplane.exchange import Exchange

_BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}


class _Asked:
    def __init__(self, endpoint: str, document: dict[str, Any], organization: str, credential: str) -> None:
        self.spec = _BY_NAME[endpoint]
        self.endpoint = endpoint
        self.raw = orjson.dumps(document)
        self.fields = bodies.decode(self.raw)
        self.is_json = not self.spec.form
        self.upload = None if self.is_json else object()
        self.model = str(document["model"])
        self.max_tokens = bodies.max_tokens_of(self.fields, 1)
        self.organization = organization
        self.credential = credential


def asked(
    endpoint: str = "chat.completions", *, organization: str = "acme", credential: str = "unit", **fields: Any
) -> Exchange:
    """A request for the model ``m`` with further ``fields``."""
    document = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return cast("Exchange", _Asked(endpoint, document, organization, credential))
