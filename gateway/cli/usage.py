"""``gateway usage``: the ledger, looked at from outside of the gateway."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import click
import msgspec
import orjson
from sqlalchemy.exc import DBAPIError

from gateway.bus.usage_files import positions_of
from gateway.cli import drift, exports
from gateway.cli.config import FAULTY, config_option, config_path, give_up, json_option, read_or_exit
from gateway.dataplane.vendors import vendor_of
from gateway.domain.actor import SYSTEM
from gateway.domain.ledger import poison, repo
from gateway.domain.ledger.query import Filter, Sort
from gateway.domain.ledger.rating import BILLED, BookRater
from gateway.domain.ledger.totals import sums
from gateway.domain.ledger.verification import Verified, verify
from gateway.domain.pricing.book import PriceBook, bases_of
from gateway.domain.work import Works
from gateway.kernel.errors import GatewayError
from gateway.settings.master_key import MasterKeyError, existing
from gateway.settings.model import Settings
from gateway.sidecar.outbox import Pending, pending, verify_outbox
from gateway.store.engine import FILE, Store

T = TypeVar("T")

_NS = 1_000_000_000
_EPOCH = date(1970, 1, 1).toordinal()
_ROWS = 1_000


@click.group()
def usage() -> None:
    """The ledger: one entry per request."""


@usage.command("pending", short_help="What this machine has written and the ledger does not hold yet.")
@config_option
@json_option
def pending_command(config: Path | None, as_json: bool) -> None:
    """Tell what has been written on this machine and has not reached the ledger."""
    settings = read_or_exit(config_path(config)).settings
    aside: int | None
    if settings.redis_url is None:
        files, aside = _run(settings, partial(_pending_here, settings))
        fault = None
    else:
        # Only a gateway with Redis has its library.
        from gateway.sidecar.outbox_redis import pending as pending_in_redis  # noqa: PLC0415

        files, fault = pending_in_redis(_folder(settings), settings.redis_url)
        aside = _set_aside(settings)
    if as_json:
        told = {"files": msgspec.to_builtins(files), "set_aside": aside, "redis_fault": fault}
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2))
        return
    for file in files:
        there = f"; in Redis: {file.redis} bytes, of which taken: {file.claimed}" if settings.redis_url else ""
        events = _count(file.events, "event", "events")
        click.echo(f"{file.name}: {events}, {file.bytes} bytes, since {_iso(file.oldest_ns)}{there}")
    if fault is not None:
        click.echo(f"Redis can't tell what is there: {fault}", err=True)
    lines = "not known here" if aside is None else _count(aside, "line", "lines")
    events = _count(sum(file.events for file in files), "event", "events")
    click.echo(f"pending: {events}; set aside: {lines}")


async def _pending_here(settings: Settings, works: Works) -> tuple[list[Pending], int]:
    async with works.read(SYSTEM) as work:
        return await pending(work.session, _folder(settings)), await poison.count(work)


def _set_aside(settings: Settings) -> int | None:
    """How many lines are set aside; None on a machine that does not reach the ledger."""

    async def run() -> int:
        async with _works(settings) as works, works.read(SYSTEM) as work:
            return await poison.count(work)

    try:
        return asyncio.run(run()) if _has_ledger(settings) else None
    except (GatewayError, DBAPIError, OSError):
        return None


@usage.command("verify", short_help="Hold sums, costs and written events against the entries.")
@config_option
@json_option
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A provider's usage export (CSV): compare it with the ledger instead, by model and day.",
)
@click.option("--provider", help="Whose export it is, as in gateway.yaml; absent: those whose vendor it is from.")
@click.option("--columns", help="The export's columns: day=..,model=..,requests=..,prompt=a+b,completion=..,cost=..")
@click.option("--tolerance", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Percent of drift.")
def verify_command(
    config: Path | None,
    as_json: bool,
    against: Path | None,
    provider: str | None,
    columns: str | None,
    tolerance: float,
) -> None:
    """Verify that the sums are those of the entries, and that all that was written is in them; exit code 1 if not."""
    settings = read_or_exit(config_path(config)).settings
    if against is not None:
        _verify_against(settings, against, provider, columns, tolerance, as_json=as_json)

    told_before = positions_of(_folder(settings))

    async def run(works: Works) -> Verified:
        async with works.read(SYSTEM) as work:
            found = await verify(work)
            await verify_outbox(work.session, found, _folder(settings), told_before)
            return found

    found = _run(settings, run)
    if as_json:
        told = {"whole": found.is_whole, **msgspec.to_builtins(found)}
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2))
    else:
        for fault in found.faults:
            click.echo(f"{fault.kind}: {fault.where}")
        click.echo(_in_words(found))
    sys.exit(0 if found.is_whole else FAULTY)


def _verify_against(
    settings: Settings, path: Path, provider: str | None, columns: str | None, tolerance: float, *, as_json: bool
) -> NoReturn:
    """Tell where an export and the ledger differ; exit code 1 where that is by more than the tolerance."""
    try:
        export = drift.read_export(path, None if columns is None else drift.columns_of(columns))
    except (drift.ExportError, OSError) as error:
        give_up(str(error))
    named = [each.name for each in settings.providers]
    of_vendor = [each.name for each in settings.providers if vendor_of(each.name, each.base_url).name == export.vendor]
    providers = of_vendor if provider is None and export.vendor is not None else [provider] if provider else []
    if not providers or not set(providers) <= set(named):
        give_up(f"name the provider it is of by --provider: {', '.join(named) or 'gateway.yaml has none'}")
    rows, whole = drift.compare(export, _run(settings, partial(_daily, tuple(providers), export.days)))
    within = all(row.within(tolerance) for row in (*rows, whole))
    if as_json:
        told = [{"day": row.day, "model": row.model} | _drifts(row) for row in rows]
        answer = {"within": within, "tolerance": tolerance, "providers": providers, "rows": told, "all": _drifts(whole)}
        click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2))
    else:
        for line in drift.lines(rows, whole, tolerance):
            click.echo(line)
    sys.exit(0 if within else FAULTY)


def _drifts(row: drift.Row) -> dict[str, object]:
    return {name: each.document() for name, each in row.drifts.items()}


async def _daily(
    providers: tuple[str, ...], days: tuple[str, str], works: Works
) -> list[tuple[date, str, dict[str, int]]]:
    """What the ledger has of each model on each of the days that a provider counts: no failure, no cached answer."""
    begin, end = (date.fromisoformat(day).toordinal() - _EPOCH for day in days)
    wanted = Filter(
        providers=providers, outcomes=BILLED, from_ns=begin * 86_400 * _NS, until_ns=(end + 1) * 86_400 * _NS
    )
    async with works.read(SYSTEM) as work:
        found = await sums(work.session, wanted, ("model",), "day")
    return [
        (
            datetime.fromtimestamp(each.start or 0, UTC).date(),
            each.group[0],
            {
                "requests": each.requests,
                "prompt": each.prompt_tokens,
                "cached": each.cached_tokens,
                "cache_write": each.cache_write_tokens,
                "completion": each.completion_tokens,
                "cost": each.cost_nanos,
            },
        )
        for each in found
    ]


@usage.command("export", short_help="Write the entries as CSV, JSON lines or Parquet.")
@config_option
@click.option("--format", "form", type=click.Choice(exports.FORMATS), default="csv", show_default=True)
@click.option("--from", "begin", metavar="TIME", help="From this ISO 8601 time on.")
@click.option("--until", "end", metavar="TIME", help="Before this ISO 8601 time.")
@click.option("--organization", help="Of this organization alone.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="The file; absent: standard output.")
def export_command(
    config: Path | None, form: str, begin: str | None, end: str | None, organization: str | None, output: Path | None
) -> None:
    """Write the entries, the oldest first: times in Unix nanoseconds, money in nano-dollars."""
    settings = read_or_exit(config_path(config)).settings
    wanted = Filter(organization=organization, from_ns=_ns(begin, "--from"), until_ns=_ns(end, "--until"))

    async def run(works: Works) -> int:
        with exports.writer(form, output) as writer:
            return await _export(works, wanted, writer)

    try:
        click.echo(_count(_run(settings, run), "entry", "entries"), err=True)
    except exports.ExportFault as fault:
        give_up(str(fault))


@usage.command("replay", short_help="Try to enter the lines that were set aside.")
@config_option
def replay_command(config: Path | None) -> None:
    """Try to enter the lines that were set aside; exit code 1 where some still can't be."""
    settings = read_or_exit(config_path(config)).settings

    async def run(works: Works) -> list[poison.Replayed]:
        book, done, after = PriceBook(bases_of(settings)), list[poison.Replayed](), 0
        while True:
            async with works.begin(SYSTEM) as work:
                await book.refresh(work.session)
                replayed = await poison.replay(work, BookRater(book), after=after)
            if replayed.after is None:
                return done
            done.append(replayed)
            after = replayed.after

    done = _run(settings, run)
    failed = sum(each.failed for each in done)
    entered, known = sum(each.entered for each in done), sum(each.known for each in done)
    click.echo(f"entered: {entered}; in the ledger before: {known}; still set aside: {failed}")
    sys.exit(FAULTY if failed else 0)


async def _export(works: Works, wanted: Filter, writer: exports.Writer) -> int:
    written, order, after = 0, (Sort("number"),), None
    while True:
        # A work a page: the database is not kept from tidying up for as long as it takes.
        async with works.read(SYSTEM) as work:
            rows = await repo.page(work.session, wanted, order, _ROWS, after)
        writer.write(rows)
        written += len(rows)
        if len(rows) < _ROWS:
            return written
        after = repo.sort_key(rows[-1], order)


def _run(settings: Settings, work: Callable[[Works], Awaitable[T]]) -> T:
    async def run() -> T:
        async with _works(settings) as works:
            return await work(works)

    try:
        return asyncio.run(run())
    except GatewayError as error:
        give_up(error.message)
    except (DBAPIError, OSError) as error:
        give_up(f"cannot read the ledger: {getattr(error, 'orig', None) or error}")


@asynccontextmanager
async def _works(settings: Settings) -> AsyncIterator[Works]:
    try:
        master_key = settings.master_key or existing(settings.data_dir)
    except MasterKeyError as error:
        give_up(str(error))
    if master_key is None or not _has_ledger(settings):
        give_up(f"there is no ledger in {settings.data_dir} yet")
    store = Store.open(settings.database_url, settings.data_dir)
    try:
        yield Works(store, master_key=master_key)
    finally:
        await store.close()


def _has_ledger(settings: Settings) -> bool:
    return settings.database_url is not None or (Path(settings.data_dir) / FILE).exists()


def _folder(settings: Settings) -> Path:
    return Path(settings.data_dir) / "usage"


def _in_words(found: Verified) -> str:
    entries, days = _count(found.entries, "entry", "entries"), _count(found.days, "day", "days")
    unpriced = _count(found.unpriced, "request", "requests")
    looked = f"{entries} of {days}, {found.cost_nanos / _NS:.9f} USD, {unpriced} unpriced"
    looked += f"; {_count(found.written, 'written id', 'written ids')} looked up"
    if found.is_whole:
        return f"whole: {looked}"
    return f"not whole: {', '.join(f'{count} {kind}' for kind, count in found.counts.items())} ({looked})"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _iso(ns: int | None) -> str:
    return "?" if ns is None else datetime.fromtimestamp(ns / _NS, UTC).isoformat(timespec="milliseconds")


def _ns(value: str | None, option: str) -> int | None:
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("expected an ISO 8601 time such as 2026-01-31T00:00:00Z", param_hint=option) from None
    return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()) * _NS
