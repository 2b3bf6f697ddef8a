"""``gateway keys``: keys made, listed, rotated and revoked from the terminal.

It works on the database itself, so that it needs no running gateway; one that runs is told and acts on it at once.

=========  ======================================================================
exit code  meaning
=========  ======================================================================
0          done
1          refused, such as an unknown key; or the configuration is faulty
2          the command line is faulty
3          the database or ``data_dir`` cannot be used
=========  ======================================================================
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from gateway.cli.config import FAULTY, config_option, config_path, give_up, json_option, read_or_exit
from gateway.cli.poke import poke
from gateway.cli.serve import CANNOT_START
from gateway.domain.actor import EVERYTHING, SYSTEM, Actor
from gateway.domain.credentials.issue import DEFAULT_ORGANIZATION
from gateway.domain.credentials.model import ACTIVE, API_KEY, DISABLED, Credential
from gateway.domain.credentials.repo import is_expired
from gateway.domain.credentials.requests import CredentialFilter, CredentialPage, NewCredential
from gateway.domain.credentials.secret import ENVIRONMENTS
from gateway.domain.credentials.service import CredentialService
from gateway.domain.organizations.service import OrganizationService
from gateway.domain.work import Work, Works
from gateway.kernel.errors import GatewayError, Kind
from gateway.settings.master_key import MasterKeyError, ensure, key_file
from gateway.settings.model import Settings
from gateway.store.engine import Store

OPERATOR = Actor(kind="master", id="master", permissions=EVERYTHING, user_agent="gateway keys")
_SPAN = re.compile(r"([1-9][0-9]{0,5})([smhd])\Z")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_T = TypeVar("_T")


def _expiry(_context: click.Context, _option: click.Parameter, value: str | None) -> datetime | None:
    """The instant of a time such as 2026-12-31T23:59:59Z (in UTC without a zone), or of a span from now such as 90d."""
    if value is None:
        return None
    span = _SPAN.match(value)
    if span is not None:
        return datetime.now(UTC) + timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("expected a time such as 2026-12-31T23:59:59Z, or a span such as 90d") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


@click.group()
def keys() -> None:
    """Keys for apps: make, list, rotate and revoke them."""


@keys.command("create")
@click.argument("name")
@click.option("--organization", default=DEFAULT_ORGANIZATION, show_default=True, help="The organisation it is for.")
@click.option("--user", default=None, help="The id of the user whose key it is; without one it belongs to no person.")
@click.option("--environment", type=click.Choice([*ENVIRONMENTS]), default="live", show_default=True)
@click.option(
    "--family", type=click.Choice(["gw", "sk"]), default="gw", show_default=True, help="gw_live_… or sk_live_…"
)
@click.option("--scope", "scopes", multiple=True, help="What it may do, such as usage:write. Without any: call models.")
@click.option("--model", "models", multiple=True, help="A model it may use. Without any: every model.")
@click.option("--cidr", "cidrs", multiple=True, help="An address or network it may be used from. Without any: all.")
@click.option(
    "--expires", callback=_expiry, metavar="TIME", help="When it ends: 2026-12-31T23:59:59Z, or 90d from now."
)
@config_option
@json_option
def create(
    config: Path | None,
    as_json: bool,
    name: str,
    organization: str,
    scopes: tuple[str, ...],
    expires: datetime | None,
    **asked: Any,
) -> None:
    """Make a key. The key itself is shown this once."""
    new = NewCredential(name=name, organization=organization, scopes=scopes or None, expires_at=expires, **asked)

    async def made(work: Work) -> tuple[Credential, str]:
        return await CredentialService(work).create(new)

    settings = read_or_exit(config_path(config)).settings
    row, secret = _run(settings, made, _ensured(settings, organization))
    _tell_secret(row, secret, as_json)


@keys.command("list")
@click.option("--organization", default=None, help="Only this organisation's.")
@click.option("--user", default=None, help="Only the keys of the user with this id.")
@click.option("--revoked", is_flag=True, help="Revoked keys too.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True, help="The most to list.")
@click.option("--after", type=click.IntRange(0), default=None, help="Begin behind the key with this number.")
@config_option
@json_option
def list_(
    config: Path | None,
    as_json: bool,
    organization: str | None,
    user: str | None,
    revoked: bool,
    limit: int,
    after: int | None,
) -> None:
    """List the keys, masked, in the order they were made."""
    statuses = () if revoked else (ACTIVE, DISABLED)
    chosen = CredentialFilter(organization=organization, user=user, kind=API_KEY, statuses=statuses)

    async def listed(work: Work) -> CredentialPage:
        return await CredentialService(work).list(chosen, limit=limit, after=after)

    page = _run(read_or_exit(config_path(config)).settings, listed)
    if as_json:
        found = {"keys": [_as_json(row) for row in page.items], "total": page.total}
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))
        return
    Console(highlight=False).print(_table(page))
    if len(page.items) == limit:
        click.echo(f"for more: --after {page.items[-1].number}")


@keys.command("rotate")
@click.argument("key")
@click.option(
    "--grace", type=click.IntRange(0), default=0, show_default=True, help="Seconds the old one goes on working."
)
@config_option
@json_option
def rotate(config: Path | None, as_json: bool, key: str, grace: int) -> None:
    """Give KEY (its id or number) another secret. The secret is shown this once."""

    async def rotated(work: Work) -> tuple[Credential, str]:
        return await CredentialService(work).rotate(key, grace_seconds=grace)

    row, secret = _run(read_or_exit(config_path(config)).settings, rotated)
    _tell_secret(row, secret, as_json)


@keys.command("revoke")
@click.argument("key")
@config_option
@json_option
def revoke(config: Path | None, as_json: bool, key: str) -> None:
    """End KEY (its id or number) for good."""

    async def revoked(work: Work) -> Credential:
        return await CredentialService(work).revoke(key)

    row = _run(read_or_exit(config_path(config)).settings, revoked)
    click.echo(orjson.dumps(_as_json(row)) if as_json else f"{row.id} ({row.masked}) is revoked.")


def _ensured(settings: Settings, organization: str) -> Callable[[Work], Awaitable[object]] | None:
    """What makes an organisation that the configuration names, as the sidecar does when it starts."""
    if organization not in {DEFAULT_ORGANIZATION, *(key.organization for key in settings.keys)}:
        return None
    return lambda work: OrganizationService(work).ensure(organization)


def _run(
    settings: Settings, act: Callable[[Work], Awaitable[_T]], prepare: Callable[[Work], Awaitable[object]] | None = None
) -> _T:
    """Do something in one work, and tell a running sidecar if it changed anything. Exits where it can't be done."""
    try:
        master_key, is_new = ensure(settings.data_dir) if settings.master_key is None else (settings.master_key, False)
        if is_new:
            click.echo(f"A master key was made and is kept in {key_file(settings.data_dir)}.", err=True)
        return asyncio.run(_worked(settings, master_key, act, prepare))
    except GatewayError as error:
        give_up(error.message, CANNOT_START if error.kind is Kind.UNAVAILABLE else FAULTY)
    except MasterKeyError as error:
        give_up(str(error), CANNOT_START)
    except (DBAPIError, OSError) as error:
        give_up(f"the database cannot be used: {getattr(error, 'orig', None) or error}", CANNOT_START)


async def _worked(
    settings: Settings,
    master_key: str,
    act: Callable[[Work], Awaitable[_T]],
    prepare: Callable[[Work], Awaitable[object]] | None,
) -> _T:
    store = Store.open(settings.database_url, settings.data_dir)
    commits: list[None] = []
    works = Works(store, master_key=master_key, on_commit=lambda: commits.append(None))
    try:
        await store.migrate()
        if prepare is not None:
            async with works.begin(SYSTEM) as work:
                await prepare(work)
        async with works.begin(OPERATOR) as work:
            done = await act(work)
    finally:
        await store.close()
    if commits:
        await poke(settings, master_key)
    return done


def _tell_secret(row: Credential, secret: str, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps({**_as_json(row), "key": secret}))
        return
    click.echo(f"{row.id}, {row.name}, for {row.organization_id}:\n\n  {secret}\n\nKeep it: it is not shown again.")


def _as_json(row: Credential) -> dict[str, Any]:
    return {
        "id": row.id,
        "number": row.number,
        "name": row.name,
        "masked": row.masked,
        "organization": row.organization_id,
        "user": row.user_id,
        "environment": row.environment,
        "status": _status(row),
        "scopes": row.scopes,
        "models": row.models,
        "cidrs": row.cidrs,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
    }


def _status(row: Credential) -> str:
    return "expired" if row.is_active and is_expired(row, datetime.now(UTC)) else row.status


def _table(page: CredentialPage) -> Table:
    table = Table(title=f"{len(page.items)} of {page.total} keys", title_justify="left", title_style="dim")
    for heading in ("number", "name", "key", "organization", "status", "expires (UTC)"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("number", "key"))
    for row in page.items:
        ends = "" if row.expires_at is None else f"{row.expires_at:%Y-%m-%d %H:%M}"
        # Names are shown as they are: as markup, brackets in them would be commands.
        cells = (str(row.number), row.name, row.masked, row.organization_id, _status(row), ends)
        table.add_row(*(Text(cell) for cell in cells))
    return table
