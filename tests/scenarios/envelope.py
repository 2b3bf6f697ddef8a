"""OpenAI's error envelope, as every error on an inference path must have it."""

from __future__ import annotations

from typing import Any


def checked(body: Any) -> dict[str, Any]:
    """The ``error`` object of ``body``; asserts that the envelope is whole."""
    assert set(body) == {"error"}, body
    error = body["error"]
    assert {"message", "type", "param", "code"} <= set(error), error
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    assert error["type"]
    assert error["param"] is None or isinstance(error["param"], str)
    assert error["code"] is None or isinstance(error["code"], str)
    assert isinstance(error, dict)
    return error
