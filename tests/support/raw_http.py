"""An HTTP/1.1 client that sends exactly the bytes it is given, for tests of what a proper client would never send."""

from __future__ import annotations

import http.client
import io
import json
import select
import socket
import struct
from types import TracebackType
from typing import Any

TIMEOUT = 30.0


class _Reader(io.BufferedReader):
    """Shared by all responses of a connection: ``http.client`` closes its file after each."""

    def close(self) -> None:
        pass


class RawResponse:
    """A response read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        """The body parsed as JSON."""
        return json.loads(self.body)


class RawConnection:
    """One TCP connection. Raises ``TimeoutError`` when the peer is silent for :data:`TIMEOUT` seconds."""

    def __init__(self, address: tuple[str, int], *options: tuple[int, int, bytes]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        for option in options:
            self._socket.setsockopt(*option)
        self._socket.settimeout(TIMEOUT)
        self._socket.connect(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = _Reader(socket.SocketIO(self._socket, "r"))

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send ``data``; a peer that has closed already is noticed on the next read instead."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def finish(self) -> None:
        """Say that nothing more will be sent."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def begin_response(self, method: str = "POST") -> http.client.HTTPResponse:
        """The head of the next response; its body is read by the caller."""
        response = http.client.HTTPResponse(_Holder(self._reader), method=method)  # type: ignore[arg-type]
        response.begin()
        return response

    def response(self, method: str = "POST") -> RawResponse:
        """The next response, whole."""
        return RawResponse(self.begin_response(method))

    def optional_response(self, method: str = "POST") -> RawResponse | None:
        """The next response, or None where the peer closed the connection without one."""
        try:
            return self.response(method)
        except (http.client.RemoteDisconnected, ConnectionResetError):
            return None

    def wait_readable(self, seconds: float) -> bool:
        """Whether data or the end came within ``seconds``."""
        self._socket.setblocking(False)
        try:
            if self._reader.peek(1):
                return True
        except ConnectionResetError:
            return True
        finally:
            self._socket.settimeout(TIMEOUT)
        readable, _, _ = select.select([self._socket], [], [], seconds)
        return bool(readable)

    def at_end(self) -> bool:
        """Whether the peer has closed the connection; waits for data or the end."""
        try:
            return not self._reader.peek(1)
        except ConnectionResetError:
            return True

    def reset_on_close(self) -> None:
        """Make :meth:`close` reset the connection instead of ending it."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class _Holder:
    def __init__(self, reader: _Reader) -> None:
        self._reader = reader

    def makefile(self, *_: object) -> _Reader:
        return self._reader


def request(
    path: str,
    body: bytes = b"",
    *,
    key: str | None,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    content_type: str = "application/json",
) -> bytes:
    """The bytes of a well-formed request with a Content-Length."""
    lines = [f"{method} {path} HTTP/1.1", "host: gateway.test"]
    if key is not None:
        lines.append(f"authorization: Bearer {key}")
    if body or method == "POST":
        lines += [f"content-type: {content_type}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
