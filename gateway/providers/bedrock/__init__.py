"""Amazon Bedrock: the Converse API, InvokeModel for what is no conversation, signatures and the framing of streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.kernel.errors import GatewayError, Kind
from gateway.providers.base import Call, Failure, Headed, Json, Question
from gateway.providers.bedrock import invoke
from gateway.providers.bedrock.errors import error
from gateway.providers.bedrock.eventstream import EventFrames
from gateway.providers.bedrock.request import request
from gateway.providers.bedrock.response import response
from gateway.providers.bedrock.sigv4 import Signer
from gateway.providers.bedrock.stream import Stream
from gateway.providers.telling import reading


class Bedrock:
    """See :class:`gateway.providers.base.Translator`.

    With an API key it is a bearer token; else the options ``access_key_id`` and ``secret_access_key`` (and
    ``session_token``) sign each call for ``region``, which is read off the base URL where it isn't given.
    """

    kind = "bedrock"
    endpoints: Final = frozenset(("chat.completions", *invoke.ENDPOINTS))
    stream_type: Final = b"application/vnd.amazon.eventstream"

    def request(self, question: Question) -> Call:
        """The call that asks the same."""
        ask: Callable[[Question], tuple[str, bytes, tuple[str, ...], Any]] = request
        if question.endpoint in invoke.ENDPOINTS:
            ask = invoke.request
        path, body, dropped, memo = ask(question)
        upstream = question.upstream
        headers: tuple[tuple[str, str], ...] = ()
        if upstream.api_key is not None:
            headers = (("authorization", f"Bearer {upstream.api_key}"),)
        elif "access_key_id" in upstream.options:
            parts = urlsplit(upstream.base_url)
            host = parts.netloc.rpartition("@")[2].removesuffix(":443" if parts.scheme == "https" else ":80")
            signer = _signer(upstream.options, parts.hostname or "")
            headers = tuple(signer.sign("POST", parts.path.rstrip("/") + path, {"host": host}, body, question.now))
        return Call(path, headers, body, dropped, memo)

    def response(self, body: bytes, memo: Any) -> Json:
        """The whole answer."""
        with reading("The answer"):
            return invoke.response(body, memo) if isinstance(memo, Headed) else response(body, memo)

    def stream(self, memo: Any) -> Stream:
        """The translator of one streamed answer."""
        return Stream(memo)

    def frames(self) -> EventFrames:
        """What cuts one stream into events."""
        return EventFrames()

    def error(self, status: int, body: bytes) -> Failure:
        """An error as OpenAI would tell it."""
        return error(status, body)


def _signer(options: Mapping[str, Any], host: str) -> Signer:
    region = options.get("region") or region_of(host)
    secret = options.get("secret_access_key")
    if not region or not secret:
        missing = "region" if secret else "secret_access_key"
        raise GatewayError(Kind.INTERNAL, "provider_misconfigured", f"The provider's options lack '{missing}'.")
    return _kept(options["access_key_id"], secret, region, options.get("session_token"))


@lru_cache(maxsize=64)
def _kept(access_key: str, secret_key: str, region: str, session_token: str | None) -> Signer:
    return Signer(access_key, secret_key, region, session_token=session_token)


def region_of(host: str) -> str:
    """The region in a host such as ``bedrock-runtime.eu-central-1.amazonaws.com``; empty where there is none."""
    parts = host.split(".")
    return parts[1] if len(parts) > 3 and parts[0].startswith("bedrock-runtime") else ""


def translator() -> Bedrock:
    """The translation of kind ``bedrock``."""
    return Bedrock()
