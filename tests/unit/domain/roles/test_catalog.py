"""The catalogue of roles and permissions."""

from __future__ import annotations

import pytest

from gateway.domain.actor import PLATFORM_ONLY, grants
from gateway.domain.roles.catalog import catalog
from gateway.kernel.errors import GatewayError


def test_every_permission_a_role_lists_is_known() -> None:
    for role in catalog().roles.values():
        for permission in role.permissions:
            assert permission in catalog().permissions or permission == "*", (role.name, permission)
    for scope, implied in catalog().implies.items():
        assert {scope, *implied} <= set(catalog().permissions)
    assert set(catalog().permissions) >= PLATFORM_ONLY


def test_the_references_roles_and_scopes_are_there() -> None:
    cost_ops = {"viewer", "analyst", "engineer", "admin", "billing_admin"}
    others = {"owner", "moderator", "developer", "user", "member", "platform_admin"}
    assert cost_ops | others <= set(catalog().names)
    scopes = "usage:read usage:write costs:read pricing:read pricing:write analytics:read export:read forecast:read"
    assert {*scopes.split(), "audit:read", "admin:*", "api:read", "api:write"} <= set(catalog().permissions)
    assert catalog().get("user").permissions == ("api:read", "api:write")


def test_roles_grow_as_documented() -> None:
    viewer, analyst, engineer = (catalog().of(name) for name in ("viewer", "analyst", "engineer"))
    assert {"costs:read", "usage:read"} <= viewer
    assert not any(grants(viewer, name) for name in ("inference", "usage:write", "keys:read"))
    assert {"costs:read", "usage:read", "analytics:read", "export:read"} <= analyst
    assert analyst < engineer
    assert grants(engineer, "usage:write")
    assert all(grants(catalog().of("admin"), name) for name in catalog().permissions)


def test_only_one_role_is_of_the_platform() -> None:
    assert [role.name for role in catalog().roles.values() if role.platform] == ["platform_admin"]


def test_writing_brings_calling_models() -> None:
    assert grants(catalog().expand(["api:write"]), "inference")
    assert grants(catalog().expand(["*:write"]), "inference")
    assert not grants(catalog().expand(["usage:write"]), "inference")


def test_a_key_does_no_more_than_its_user() -> None:
    held = catalog().of("viewer")
    assert catalog().within(["admin:*"], held) == held & set(catalog().permissions)
    assert catalog().within(["costs:read", "inference"], held) == {"costs:read"}


def test_an_unknown_role_is_told_what_there_is() -> None:
    with pytest.raises(GatewayError, match="expected platform_admin, owner"):
        catalog().get("king")
    assert catalog().of("king") == frozenset()
    assert catalog().of(None) == frozenset()
