"""TLS to upstreams: verification on, sessions resumed."""

from __future__ import annotations

import ssl
from typing import Any


class ResumingContext(ssl.SSLContext):
    """An :class:`ssl.SSLContext` whose connections resume the last session of the same server name.

    asyncio has no parameter for a session, but it asks the context for the TLS object: that is where it goes in.
    """

    sessions: dict[str, ssl.SSLSession]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        if session is None and isinstance(server_hostname, str):
            session = self.sessions.get(server_hostname)
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def remember(self, tls: Any, server_hostname: str) -> None:
        """Keep the session of a connection that has answered: TLS 1.3 tickets arrive after the handshake."""
        session = getattr(tls, "session", None)
        if session is not None and session.has_ticket:
            self.sessions[server_hostname] = session


def client_context(verify: bool, ca_file: str | None) -> ResumingContext:
    """A client context. ``ca_file`` (PEM) is trusted beside the system's authorities."""
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sessions = {}
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if verify:
        context.load_default_certs()
        if ca_file is not None:
            context.load_verify_locations(ca_file)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
