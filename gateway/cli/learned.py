"""``gateway router report``, ``export`` and ``reset``: what organizations' decisions and feedback came to.

They work on the database itself, so that they need no running gateway; one that runs is told of a reset.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec
import orjson
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import DBAPIError

from gateway.cli.config import FAULTY, config_option, config_path, give_up, json_option, needed, read_or_exit
from gateway.cli.poke import poke
from gateway.domain.actor import EVERYTHING, Actor
from gateway.domain.learning.logged import MOST, outcomes
from gateway.domain.learning.service import LearningService
from gateway.domain.work import Work, Works
from gateway.kernel.errors import GatewayError
from gateway.kernel.money import to_dollars
from gateway.settings.master_key import MasterKeyError, existing
from gateway.settings.model import Settings
from gateway.store.engine import FILE, Store

if TYPE_CHECKING:
    from gateway.routing.online_report import Claim, Interval, Report

OPERATOR = Actor(kind="master", id="master", permissions=EVERYTHING, user_agent="gateway router")
_T = TypeVar("_T")
_DAY_NS = 86_400_000_000_000
_organization = click.option("--organization", required=True, help="The id of the organization.")


@click.command("report", short_help="Tell what learned routes were worth, against always taking one target.")
@click.option("--organization", default=None, help="The id of an organization.  [default: all together]")
@click.option("--days", type=click.IntRange(1, 3_650), default=30, show_default=True, help="How far to look back.")
@click.option("--against", multiple=True, metavar="TARGET", help="Compare with this target.  [default: with each]")
@config_option
@json_option
def report_command(
    config: Path | None, as_json: bool, organization: str | None, days: int, against: tuple[str, ...]
) -> None:
    """Tell quality, cost and latency of the router and of each fixed target, by what came of its decisions.

    With confidence intervals, and a control beside each claim of savings: the same choices handed out at random.
    """
    reporting = needed("gateway.routing.online_report", "routing")

    async def read(work: Work) -> list[Any]:
        return await outcomes(work, organization, time.time_ns() - days * _DAY_NS)

    found = [
        reporting.Logged(one.target, one.propensity, one.estimates, one.quality, one.cost_nanos, one.seconds)
        for one in _run(read_or_exit(config_path(config)).settings, read)
    ]
    try:
        made: Report = reporting.report(found, against)
    except ValueError as error:
        give_up(str(error), FAULTY)
    if as_json:
        click.echo(orjson.dumps(msgspec.to_builtins(made), option=orjson.OPT_INDENT_2))
    else:
        _print(made, days)


@click.command("export", short_help="Print what was learnt for an organization, as JSON.")
@_organization
@config_option
def export_command(config: Path | None, organization: str) -> None:
    """Print all that an organization's feedback taught: what workers are told, and the state behind it."""

    async def read(work: Work) -> dict[str, Any]:
        return await LearningService(work).export(organization)

    found = _run(read_or_exit(config_path(config)).settings, read)
    click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))


@click.command("reset", short_help="Forget what was learnt for an organization.")
@_organization
@config_option
def reset_command(config: Path | None, organization: str) -> None:
    """Forget what an organization's feedback taught, so that the weights alone decide again. It is audited."""

    async def forget(work: Work) -> None:
        await LearningService(work).reset(organization)

    _run(read_or_exit(config_path(config)).settings, forget, writes=True)
    click.echo(f"forgotten: what was learnt for {organization}")


def _run(settings: Settings, act: Callable[[Work], Awaitable[_T]], *, writes: bool = False) -> _T:
    try:
        master_key = settings.master_key or existing(settings.data_dir)
        if master_key is None or (settings.database_url is None and not (Path(settings.data_dir) / FILE).exists()):
            give_up(f"there is no database in {settings.data_dir} yet")
        return asyncio.run(_worked(settings, master_key, act, writes))
    except GatewayError as error:
        give_up(error.message, FAULTY)
    except MasterKeyError as error:
        give_up(str(error))
    except (DBAPIError, OSError) as error:
        give_up(f"the database cannot be used: {getattr(error, 'orig', None) or error}")


async def _worked(settings: Settings, master_key: str, act: Callable[[Work], Awaitable[_T]], writes: bool) -> _T:
    store = Store.open(settings.database_url, settings.data_dir)
    commits: list[None] = []
    works = Works(store, master_key=master_key, on_commit=lambda: commits.append(None))
    try:
        await store.migrate()
        async with works.begin(OPERATOR) if writes else works.read(OPERATOR) as work:
            done = await act(work)
    finally:
        await store.close()
    if commits:
        await poke(settings, master_key)
    return done


def _print(made: Report, days: int) -> None:
    limit = f", the latest {MOST}" if made.decisions >= MOST else ""
    click.echo(f"{made.decisions} decisions of {days} days{limit}; of {made.told} the quality is known")
    if not made.decisions:
        click.echo("Nothing can be said: no decision is kept.")
        return
    table = Table("policy", "decisions", "quality", "seen", "cost a request", "seconds", "effective", box=None)
    for each in made.policies:
        table.add_row(
            each.name if each.is_enough else f"{each.name} (too few data)",
            f"{each.decisions}",
            _interval(each.quality),
            "?" if each.quality_seen is None else f"{each.quality_seen:.3f}",
            _interval(each.cost_nanos, dollars=True),
            _interval(each.seconds),
            f"{each.effective:.0f}",
        )
    Console(width=160).print(table)
    for claim in made.claims:
        _print_claim(claim)


def _print_claim(claim: Claim) -> None:
    click.echo(f"\n{claim.verdict}")
    if claim.is_enough:
        click.echo(f"  saved {_share(claim.saved)}, shuffled {_share(claim.shuffled_saved)}")
        click.echo(f"  quality {_signed(claim.quality)}, shuffled {_signed(claim.shuffled_quality)}")
        click.echo(f"  quality above the shuffled control {_signed(claim.known)}")


def _interval(found: Interval | None, *, dollars: bool = False) -> str:
    if found is None:
        return "?"
    if dollars:
        value, low, high = (to_dollars(round(each)) for each in (found.value, found.low, found.high))
        return f"${value:.6f} [{low:.6f}, {high:.6f}]"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _share(found: Interval) -> str:
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"


def _signed(found: Interval) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
