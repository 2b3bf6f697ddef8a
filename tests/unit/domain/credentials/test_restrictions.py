"""Networks, scopes and secrets, without a database."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.actor import Actor
from gateway.domain.credentials.restrictions import check_scopes, networks, scopes
from gateway.domain.credentials.secret import app_bearer, key_prefix, new_secret
from gateway.domain.roles.catalog import catalog
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.secrets import Seal


def attempt(call: Callable[[], list[str]]) -> tuple[list[str], GatewayError | None]:
    try:
        return call(), None
    except GatewayError as error:
        return [], error


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["10.0.0.1"], ["10.0.0.1/32"]),
        ([" 10.1.2.3/8 "], ["10.0.0.0/8"]),
        (["10.0.0.0/255.0.0.0"], ["10.0.0.0/8"]),
        (["2001:DB8::1"], ["2001:db8::1/128"]),
        (["::ffff:10.0.0.1", "10.0.0.1"], ["10.0.0.1/32"]),
        (["::ffff:10.0.0.0/104"], ["10.0.0.0/8"]),
        (["::/0"], ["::/0"]),
        ([], []),
    ],
)
def test_networks_are_kept_in_one_spelling(given: list[str], kept: list[str]) -> None:
    assert networks(given) == kept


@given(st.lists(st.one_of(st.ip_addresses(), st.text(max_size=20)), max_size=5))
def test_networks_are_networks_or_refused(values: list[object]) -> None:
    kept, error = attempt(lambda: networks([str(value) for value in values]))
    if error is not None:
        assert error.kind is Kind.INVALID
        assert (error.field or "").startswith("cidrs[")
        return
    assert networks(kept) == kept
    assert [str(ipaddress.ip_network(network)) for network in kept] == kept


SCOPES = st.lists(
    st.one_of(st.sampled_from(sorted(catalog().permissions)), st.sampled_from(["*", "*:read", "usage:*", "api:*"])),
    max_size=6,
)


@given(held=st.frozensets(st.sampled_from(sorted(catalog().permissions))), asked=SCOPES)
def test_what_is_given_was_held(held: frozenset[str], asked: list[str]) -> None:
    actor = Actor(kind="user", id="u", organization="acme", permissions=held)
    given, error = attempt(lambda: scopes(asked, None, actor, "acme"))
    if error is not None:
        assert error.kind is Kind.FORBIDDEN
        assert any(not actor.may(scope, "acme") for scope in asked)
        return
    assert set(given) == set(asked)
    # Nothing of the catalogue is reached by the key that its maker does not reach.
    key = Actor(kind="credential", id="k", organization="acme", permissions=frozenset(given))
    assert all(actor.may(name, "acme") for name in catalog().permissions if key.may(name, "acme"))


@given(held=st.frozensets(st.sampled_from(sorted(catalog().permissions))))
def test_a_star_is_all_that_is_held(held: frozenset[str]) -> None:
    actor = Actor(kind="user", id="u", organization="acme", permissions=held)
    given = set(scopes(None, {"read": ["*"], "write": ["*"]}, actor, "acme"))
    ends = (":read", ":write")
    assert given == {name for name in catalog().permissions if name.endswith(ends) and actor.may(name, "acme")}


def test_only_what_is_added_must_be_held() -> None:
    actor = Actor(kind="user", id="u", organization="acme", permissions=frozenset({"api:read"}))
    assert check_scopes(["costs:read", "api:read"], ["costs:read"], actor, "acme") == ["api:read", "costs:read"]
    with pytest.raises(GatewayError):
        check_scopes(["costs:read", "usage:read"], ["costs:read"], actor, "acme")


def test_a_secret_holds_256_bits_of_letters_and_digits_and_the_mark() -> None:
    seal = Seal("gw_test_master_key")
    secret = new_secret("gw_live_", seal)
    random = secret.removeprefix("gw_live_")
    assert random.isascii()
    assert random.isalnum()
    assert (len(random) - 8) * math.log2(62) >= 256
    assert seal.holds(secret.encode())


def test_spellings() -> None:
    assert key_prefix("gw", "development") == "gw_dev_"
    assert key_prefix("sk", "live") == "sk_live_"
    assert key_prefix("sk", "live", administrative=True) == "sk_admin_"
    assert app_bearer("app_1", "sk_2") == "app_1:sk_2"
