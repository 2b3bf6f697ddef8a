"""Where a provider is: the parsed ``base_url``."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote, urlsplit


class Origin(NamedTuple):
    """A place to connect to and the path prefix there. ``socket`` is a Unix socket path, or empty."""

    scheme: str
    host: str
    port: int
    prefix: str
    socket: str = ""

    @property
    def host_header(self) -> str:
        """The ``Host`` value (RFC 9110 §7.2): without the scheme's default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The origin as a URL, without path or credentials."""
        return f"unix:{self.socket}" if self.socket else f"{self.scheme}://{self.host_header}"


def parse_origin(url: str) -> Origin:
    """``http(s)://host[:port][/prefix]`` or ``unix:/path``. Raises :class:`ValueError`."""
    if url.startswith("unix:"):
        return Origin("http", "localhost", 80, "", url.removeprefix("unix:"))
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"expected http://host, https://host or unix:/path, got {url!r}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Origin(parts.scheme, unquote(parts.hostname), port, parts.path.rstrip("/"))
