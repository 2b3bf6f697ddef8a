"""Roles and permissions as ``config/roles.yaml`` names them: what each role may do, and what scopes come to."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import msgspec
import yaml
from msgspec import Struct

from gateway.domain.actor import grants
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.shipped import shipped


class Role(Struct, frozen=True, forbid_unknown_fields=True):
    """One role. ``permissions`` are as listed, in their order; a ``platform`` role reaches into every organisation."""

    title: str
    description: str
    permissions: tuple[str, ...]
    platform: bool = False
    name: str = ""


class Roles(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole catalogue: permissions with what they mean, what each brings with it, roles by name."""

    permissions: dict[str, str]
    implies: dict[str, tuple[str, ...]]
    roles: dict[str, Role]

    @property
    def names(self) -> list[str]:
        """The roles' names, the mightiest first."""
        return list(self.roles)

    def get(self, name: str, field: str = "role") -> Role:
        """The role of that name. Raises :class:`GatewayError` (INVALID ``unknown_role``)."""
        role = self.roles.get(name)
        if role is None:
            expected = ", ".join(self.roles)
            raise GatewayError(Kind.INVALID, "unknown_role", f"There is no role {name!r}: expected {expected}.", field)
        return role

    def of(self, name: str | None) -> frozenset[str]:
        """All that a role may do; nothing for None and for a role that no longer exists."""
        role = self.roles.get(name) if name is not None else None
        return frozenset() if role is None else self.expand(role.permissions)

    def expand(self, scopes: Iterable[str]) -> frozenset[str]:
        """The scopes with what they bring with them: whoever may write with the API may call models."""
        found = set(scopes)
        for scope, implied in self.implies.items():
            if grants(frozenset(found), scope):
                found |= set(implied)
        return frozenset(found)

    def within(self, scopes: Iterable[str], held: frozenset[str]) -> frozenset[str]:
        """What both allow: the scopes of a key as far as its user may still do that."""
        asked = self.expand(scopes)
        return frozenset(name for name in self.permissions if grants(asked, name) and grants(held, name))


@cache
def catalog() -> Roles:
    """The shipped catalogue, read once."""
    found = msgspec.convert(yaml.safe_load(shipped("roles.yaml").read_text("utf-8")), Roles)
    named = {name: msgspec.structs.replace(role, name=name) for name, role in found.roles.items()}
    return msgspec.structs.replace(found, roles=named)
