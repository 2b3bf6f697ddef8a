"""The URL at which a gateway is reached from the machine it runs on."""

from __future__ import annotations

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared, not bound


def base_url(host: str, port: int) -> str:
    """``http://host:port/v1``, with a loopback address where the gateway listens on every address."""
    name = _EVERYWHERE.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/v1"
