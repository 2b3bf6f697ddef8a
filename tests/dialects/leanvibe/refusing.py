"""Being refused as LeanVibe documents it."""

from __future__ import annotations

from typing import Any

from tests.dialects.served import Served
from tests.dialects.shape import same_shape

ENVELOPE = {
    "error": "error_code",
    "message": "Human-readable error message",
    "details": {},
    "request_id": "req_uuid_for_tracking",
    "timestamp": "2025-01-09T10:30:00Z",
}
FAULT = {"field": "specific_field_with_error", "validation_errors": ["Field is required"]}


async def refused(
    served: Served, method: str, path: str, secret: str | None, status: int, code: str, **more: Any
) -> dict[str, Any]:
    """Ask and be refused so; gives the answer's body."""
    answer = await served.ask(method, path, secret, **more)
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["error"]) == (status, code), answer.text
    same_shape(ENVELOPE, body, more={"details"})
    if status == 400:
        same_shape(FAULT, body["details"])
    if status == 401:
        assert answer.headers["www-authenticate"] == 'Bearer realm="gateway"'
    assert body["request_id"] == answer.headers["x-request-id"]
    return body
