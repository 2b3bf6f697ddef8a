"""The sockets the gateway listens on."""

from __future__ import annotations

import errno
import socket

BACKLOG = 2048


class ListenError(Exception):
    """The address cannot be listened on. The message names it and says what to do."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Bind and listen on every address of ``host``; port 0 takes a free port, the same on each address.

    Raises :class:`ListenError`.
    """
    where = f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError):
        raise ListenError(
            f"cannot listen on {where}: the host name cannot be resolved. Set server.host to an address of this "
            "machine, such as 127.0.0.1 or 0.0.0.0."
        ) from None
    sockets: list[socket.socket] = []
    try:
        for family, *_, address in dict.fromkeys((item[0], item[4]) for item in found):
            sockets.append(_bind(family, address, sockets, alone=len(found) == 1))
    except OSError as error:
        # "localhost" may name an IPv6 address on a machine that has none.
        if not (sockets and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)):
            for item in sockets:
                item.close()
            raise ListenError(f"cannot listen on {where}: {_advice(error)}") from None
    return sockets


def _bind(family: int, address: tuple[object, ...], earlier: list[socket.socket], *, alone: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if alone and address[0] == "::" else 1)
        port = earlier[0].getsockname()[1] if earlier else address[1]
        listener.bind((address[0], port, *address[2:]))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            "the port is taken. Stop the program that listens there, or set server.port to another one (0: any free)."
        )
    if error.errno == errno.EACCES:
        return "this user may not use the port. Set server.port to 1024 or more."
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return "the host is not an address of this machine. Set server.host to one, such as 127.0.0.1 or 0.0.0.0."
    return error.strerror or "the address cannot be used"
