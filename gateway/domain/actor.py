"""Who does something: the caller of an API, the command line, or the gateway itself."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from gateway.kernel.errors import GatewayError, Kind

ActorKind = Literal["master", "static", "credential", "user", "system", "anonymous"]
PLATFORM_ADMIN = "platform_admin"
EVERYTHING = frozenset({"*"})
PLATFORM_ONLY = frozenset({"credits:write", "organizations:admin", "plans:write", "system:read"})
"""What no role within an organisation brings, ``admin:*`` included: nobody gives money or a plan to themselves."""


class Actor(Struct, frozen=True, kw_only=True):
    """The one who acts, what they may do, and where the request came from.

    ``id`` names the credential (``key_…``, a static key's name), the user (``user_…``), ``master``, ``system`` or
    ``anonymous``.
    ``organization`` and ``user`` are ids. ``permissions`` are those of ``config/roles.yaml``, wildcards included.
    """

    kind: ActorKind
    id: str
    organization: str | None = None
    user: str | None = None
    role: str | None = None
    permissions: frozenset[str] = frozenset()
    email: str | None = None
    address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None

    @property
    def is_platform_admin(self) -> bool:
        """Whether they act for the whole platform; everyone else stays within their own organisation."""
        return self.kind in ("master", "system") or self.role == PLATFORM_ADMIN

    def may(self, permission: str, organization: str | None = None) -> bool:
        """Whether they hold ``permission``, and for that organisation where one is named."""
        if self.is_platform_admin:
            return True
        if permission in PLATFORM_ONLY or (organization is not None and organization != self.organization):
            return False
        return grants(self.permissions, permission)

    def require(self, permission: str, organization: str | None = None) -> None:
        """Raise :class:`GatewayError` (FORBIDDEN, ``insufficient_permissions``) where they may not."""
        if not self.may(permission, organization):
            where = "" if organization is None or organization == self.organization else " in that organization"
            raise GatewayError(
                Kind.FORBIDDEN, "insufficient_permissions", f"This needs the permission {permission}{where}."
            )

    def require_platform(self) -> None:
        """Raise :class:`GatewayError` (FORBIDDEN, ``insufficient_permissions``) unless they act for the platform."""
        if not self.is_platform_admin:
            raise GatewayError(
                Kind.FORBIDDEN, "insufficient_permissions", "Only an administrator of the platform may do this."
            )


def grants(held: frozenset[str], permission: str) -> bool:
    """Whether ``held`` covers ``permission``: by name, or by ``*``, ``admin:*``, ``<noun>:*`` or ``*:<verb>``."""
    if permission in held or "*" in held or "admin:*" in held:
        return True
    noun, separator, verb = permission.partition(":")
    return bool(separator) and (f"{noun}:*" in held or f"*:{verb}" in held)


SYSTEM = Actor(kind="system", id="system", permissions=EVERYTHING)
"""The gateway itself: start-up, pruning, what gateway.yaml says."""


def anonymous(
    address: str | None = None, user_agent: str | None = None, request_id: str | None = None, email: str | None = None
) -> Actor:
    """Someone who has not said who they are, or has not proven it."""
    return Actor(
        kind="anonymous", id="anonymous", email=email, address=address, user_agent=user_agent, request_id=request_id
    )
