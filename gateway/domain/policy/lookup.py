"""The policies of many keys at once: what they are put together from is read in a few statements for all of them.

A worker that has just started asks for every key that is in use. Core statements and plain rows: the session's objects
cost ten times what the database does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    select,
)

from gateway.contract.policy import CredentialPolicy
from gateway.domain.apps.model import App
from gateway.domain.changes.model import PolicyChange
from gateway.domain.credentials.model import Credential
from gateway.domain.credits.model import CreditEntry
from gateway.domain.limits.scopes import SHARED
from gateway.domain.organizations.model import Organization
from gateway.domain.plans.model import Plan
from gateway.domain.policy import compose
from gateway.domain.policy.limited import Numbered, in_order, limited, numbered
from gateway.domain.policy.repo import Subject
from gateway.domain.users.model import Membership, User

MOST = 256
"""Keys in one look-up."""
_STEPS = (1, 8, 64, MOST)
# Rows of Core statements: their columns are those of the table they are named for.
_Rows: TypeAlias = dict[Any, Any]
_Select: TypeAlias = "Select[*tuple[Any, ...]]"


class Looked(NamedTuple):
    """The policies by digest, as of change ``seq``; who is missing is unknown."""

    seq: int
    policies: dict[bytes, CredentialPolicy]


def look(connection: Connection, digests: Sequence[bytes], now: datetime) -> Looked:
    """The policies behind digests, at most :data:`MOST`. The transaction must show one moment to all its statements."""
    seq: int = connection.execute(_last()).scalar() or 0
    rows = _rows(connection, _credentials(by_id=False), "digest", digests=digests)
    former = {row.replaced_by for row in rows.values() if row.replaced_by is not None}
    keys = _rows(connection, _credentials(by_id=True), "id", ids=former)
    keys |= {row.id: row for row in rows.values() if row.replaced_by is None}
    policies = _composed(connection, keys.values(), now)
    found = {}
    for digest, row in rows.items():
        policy = policies.get(row.replaced_by or row.id)
        if policy is not None:
            found[digest] = policy if row.replaced_by is None else compose.of_former(policy, row.grace_until, now)
    return Looked(seq, found)


def _composed(connection: Connection, keys: Iterable[Any], now: datetime) -> dict[str, CredentialPolicy]:
    keys = list(keys)
    subjects = _subjects(connection, keys)
    limits = _limits(connection, keys)
    shared = limits.get(("", ""), ())
    composed = {}
    for row in keys:
        whose = (("key", row.id), ("user", row.user_id), ("organization", row.organization_id))
        concerned = [item for scope in whose for item in limits.get(scope, ())]
        concerned += shared
        composed[row.id] = compose.of_credential(row, subjects[row.id], in_order(concerned), now)
    return composed


def _subjects(connection: Connection, keys: Sequence[Any]) -> dict[str, Subject]:
    """Whom each key is for, by the key's id."""
    organizations = _rows(connection, _organizations(), "id", ids={row.organization_id for row in keys})
    users, roles = _users(connection, keys, organizations)
    apps = _rows(connection, _apps(), "app_id", ids={row.app_id for row in keys if row.app_id is not None})
    names = {row.plan for row in (*organizations.values(), *apps.values()) if row.plan is not None}
    plans = _rows(connection, _plans(), "name", ids=names)
    prepaid = {row.id for row in organizations.values() if row.prepaid}
    granted = _rows(connection, _granted(), "organization_id", ids=prepaid)
    found = {}
    for row in keys:
        organization, app = organizations.get(row.organization_id), apps.get(row.app_id)
        given = granted.get(row.organization_id)
        found[row.id] = Subject(
            organization=organization,
            plan=None if organization is None else plans.get(organization.plan),
            granted=0 if given is None else int(given.nanos),
            user=users.get(row.user_id),
            role=roles.get((row.user_id, row.organization_id)),
            app=app,
            tier=None if app is None else plans.get(app.plan),
        )
    return found


def _users(connection: Connection, keys: Sequence[Any], organizations: _Rows) -> tuple[_Rows, dict[Any, str]]:
    """Users by id, and what they are in which organisation."""
    ids = {row.user_id for row in keys if row.user_id is not None}
    if not ids:
        return {}, {}
    given = {"ids": _padded(ids), "organizations": _padded(organizations)}
    rows = connection.execute(_members(), given).all()
    return {row.id: row for row in rows}, {(row.id, row.organization_id): row.role for row in rows}


def _limits(connection: Connection, keys: Sequence[Any]) -> Mapping[tuple[str, str], Sequence[Numbered]]:
    """Limits and budgets by scope and id, those that all share by empty ones; each with its place in the order."""
    if not keys:
        return {}
    given = {
        "key": _padded({row.id for row in keys}),
        # No id is empty, so that it matches nothing.
        "user": _padded({row.user_id or "" for row in keys}),
        "organization": _padded({row.organization_id for row in keys}),
    }
    found: dict[tuple[str, str], list[Numbered]] = defaultdict(list)
    for row in connection.execute(_limited(), given):
        place, policy = numbered(row)
        found[("", "") if policy.scope in SHARED else (policy.scope, policy.scope_id)].append((place, policy))
    return found


def _rows(connection: Connection, query: _Select, by: str, **given: Iterable[Any]) -> _Rows:
    """The rows of a query over a list, by one of their columns; nothing is asked for an empty one."""
    named = {name: _padded(values) for name, values in given.items()}
    if not all(named.values()):
        return {}
    return {getattr(row, by): row for row in connection.execute(query, named)}


def _padded(values: Iterable[Any]) -> list[Any]:
    """As many as the next step, the first one again and again: a few lengths are a few statements to prepare."""
    found = list(values)
    if not found:
        return found
    length = next((step for step in _STEPS if step >= len(found)), len(found))
    return found + found[:1] * (length - len(found))


def _in(column: Any, name: str) -> ColumnElement[bool]:
    return column.in_(bindparam(name, expanding=True))  # type: ignore[no-any-return]


# Made once: making a query, and its key in the cache of compiled ones, takes longer than running it.


@cache
def _last() -> _Select:
    return select(func.max(PolicyChange.seq))


@cache
def _credentials(*, by_id: bool) -> _Select:
    c = Credential
    query = select(
        c.id, c.digest, c.name, c.kind, c.organization_id, c.user_id, c.app_id, c.scopes, c.models, c.cidrs,
        c.environment, c.status, c.expires_at, c.grace_until, c.replaced_by,
    )  # fmt: skip
    return query.where(_in(c.id, "ids") if by_id else _in(c.digest, "digests"))


@cache
def _organizations() -> _Select:
    o = Organization
    return select(o.id, o.status, o.status_reason, o.plan, o.prepaid).where(_in(o.id, "ids"))


@cache
def _members() -> _Select:
    theirs = and_(Membership.user_id == User.id, _in(Membership.organization_id, "organizations"))
    query = select(User.id, User.status, User.is_platform_admin, Membership.organization_id, Membership.role)
    return query.outerjoin(Membership, theirs).where(_in(User.id, "ids"))


@cache
def _apps() -> _Select:
    return select(App.app_id, App.status, App.status_reason, App.plan).where(_in(App.app_id, "ids"))


@cache
def _plans() -> _Select:
    return select(Plan.name, Plan.limits).where(_in(Plan.name, "ids"))


@cache
def _granted() -> _Select:
    organization = CreditEntry.organization_id
    nanos = func.sum(CreditEntry.amount_nanos).label("nanos")
    return select(organization, nanos).where(_in(organization, "ids")).group_by(organization)


@cache
def _limited() -> CompoundSelect[Any]:
    return limited(_in)
