"""Asking who gives access tokens. It blocks, so it runs in a thread; once an hour is not worth more."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Final

from gateway.providers.oauth import TokenRequest

_TIMEOUT: Final = 10.0  # seconds an issuer has to answer
_LARGEST: Final = 1_048_576  # bytes of its answer


def poster(proxy: str | None) -> Callable[[TokenRequest], tuple[int, bytes]]:
    """What sends a request and gives the status and the body. Raises :class:`OSError`."""
    proxies = {} if proxy is None else {"http": proxy, "https": proxy}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))

    def post(asked: TokenRequest) -> tuple[int, bytes]:
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        request = urllib.request.Request(asked.url, asked.body, headers)  # noqa: S310 - a URL of the configuration
        try:
            with opener.open(request, timeout=_TIMEOUT) as answer:
                return answer.status, answer.read(_LARGEST)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(_LARGEST)

    return post
