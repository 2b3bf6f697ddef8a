"""Whether a credential may be used: which refusal it is, and in which words."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from gateway.contract.policy import CredentialPolicy, Status
from gateway.contract.standing import check_place, check_status
from gateway.kernel.errors import GatewayError, Kind


def policy(status: Status = "active", reason: str | None = None, app: str | None = None) -> CredentialPolicy:
    return CredentialPolicy(
        "key_1", "k", "api_key", "acme", app=app, status=status, status_reason=reason,
        environment="live", cidrs=("10.0.0.0/8", "2001:db8::/32"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("of", "code", "message"),
    [
        (policy("suspended"), "tenant_suspended", "This account is suspended."),
        (policy("suspended", "Pay first.", "app_1"), "app_suspended", "This account is suspended. Pay first."),
        (policy("revoked"), "revoked_api_key", "This API key is revoked."),
        (policy("disabled", "It is gone."), "disabled_api_key", "It is gone."),
    ],
)
def test_a_refusal_gives_its_reason_once(of: CredentialPolicy, code: str, message: str) -> None:
    with pytest.raises(GatewayError) as error:
        check_status(of)
    assert (error.value.code, error.value.message) == (code, message)


@pytest.mark.parametrize(
    ("address", "environment", "code"),
    [
        ("10.1.2.3", None, None),
        ("::ffff:10.1.2.3", "live", None),
        ("2001:db8::1", "live", None),
        ("11.1.2.3", None, "address_not_allowed"),
        (None, None, "address_not_allowed"),
        ("unix", None, "address_not_allowed"),
        ("10.1.2.3", "staging", "wrong_environment"),
    ],
)
def test_where_it_may_be_used(address: str | None, environment: str | None, code: str | None) -> None:
    of = policy()
    networks = [ip_network(cidr) for cidr in of.cidrs]
    if code is None:
        check_place(of, networks, address, environment)
        return
    with pytest.raises(GatewayError) as error:
        check_place(of, networks, address, environment)
    assert (error.value.kind, error.value.code) == (Kind.FORBIDDEN, code)
