"""``gateway audit``: the audit log, looked at from outside of the gateway."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import orjson
from sqlalchemy.exc import DBAPIError

from gateway.cli.config import FAULTY, config_option, config_path, give_up, json_option, read_or_exit
from gateway.domain.actor import SYSTEM
from gateway.domain.audit.verification import Anchor, Report, verify
from gateway.domain.work import Works
from gateway.kernel.errors import GatewayError
from gateway.settings.master_key import MasterKeyError, existing
from gateway.settings.model import Settings
from gateway.store.engine import FILE, Store

_ANCHOR = re.compile(r"(\d{1,18}):([0-9a-f]{64})\Z")


@click.group()
def audit() -> None:
    """The audit log: every change of identity, key, limit or money."""


@audit.command("verify")
@config_option
@json_option
@click.option("--expect", metavar="SEQ:HASH", help="The end of the log as an earlier verification printed it.")
def verify_command(config: Path | None, as_json: bool, expect: str | None) -> None:
    """Verify that no record was changed, removed, moved or added.

    Exit code 0: intact, 1: not. It prints where the log ends. Keep that elsewhere and give it to a later --expect: it
    shows even that the whole database was replaced by an older copy.
    """
    anchor = None if expect is None else _anchor(expect)
    settings = read_or_exit(config_path(config)).settings
    try:
        report = asyncio.run(_verify(settings, anchor))
    except GatewayError as error:
        give_up(error.message)
    except (DBAPIError, OSError) as error:
        give_up(f"cannot read the audit log: {getattr(error, 'orig', None) or error}")
    if as_json:
        click.echo(orjson.dumps(_as_json(report), option=orjson.OPT_INDENT_2))
    else:
        click.echo(_in_words(report))
    sys.exit(0 if report.is_intact else FAULTY)


async def _verify(settings: Settings, anchor: Anchor | None) -> Report:
    try:
        master_key = settings.master_key or existing(settings.data_dir)
    except MasterKeyError as error:
        give_up(str(error))
    if master_key is None:
        give_up("there is no master key yet, so nothing was recorded")
    if settings.database_url is None and not (Path(settings.data_dir) / FILE).exists():
        give_up(f"there is no database in {settings.data_dir}")
    store = Store.open(settings.database_url, settings.data_dir)
    try:
        async with Works(store, master_key=master_key).read(SYSTEM) as work:
            return await verify(work, master_key, anchor)
    finally:
        await store.close()


def _anchor(text: str) -> Anchor:
    found = _ANCHOR.match(text)
    if found is None:
        raise click.BadParameter("expected SEQ:HASH as an earlier verification printed it", param_hint="--expect")
    return Anchor(int(found[1]), found[2])


def _as_json(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(report)
    return {"intact": report.is_intact, **found}


def _in_words(report: Report) -> str:
    if report.broken is None:
        return f"intact: {report.records} records, ending in {report.seq}:{report.hash}"
    name = f" ({report.broken.id})" if report.broken.id is not None else ""
    intact = f"the {report.records} before it are intact" if report.records else "it is the first"
    return f"broken at record {report.broken.seq}{name}: {report.broken.reason} ({intact})"
