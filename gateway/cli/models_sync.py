"""``gateway models sync``: the providers' own lists of models."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, Final

import click
import orjson

from gateway.cli.config import FAULTY, config_option, config_path, give_up, json_option, read_or_exit
from gateway.domain.catalogue.fetching import Failed, Skipped
from gateway.domain.catalogue.file import NAME, CatalogueError
from gateway.domain.catalogue.model import Absent, Catalogue, absent
from gateway.domain.catalogue.sync import Outcome, Synchronised, synchronise
from gateway.settings.faults import nearest
from gateway.settings.model import Settings

_SHOWN: Final = 20  # names of each sort; --json has them all


@click.command("sync", short_help="Ask the providers for their lists of models and keep them.")
@config_option
@json_option
@click.option("--provider", "only", multiple=True, metavar="NAME", help="Ask this one alone; may be repeated.")
@click.pass_context
def sync(context: click.Context, config: Path | None, as_json: bool, only: tuple[str, ...]) -> None:
    """Ask each provider for its models with its credential, keep the lists in data_dir, and tell what has changed.

    A running gateway takes them up by itself. Exit code 1: some provider's list could not be had.
    """
    outer = context.parent.params if context.parent is not None else {}
    settings = read_or_exit(config_path(config or outer.get("config"))).settings
    names = [provider.name for provider in settings.providers]
    for name in only:
        if name not in names:
            hint = nearest(name, names) or f"providers: {', '.join(names)}"
            give_up(f'there is no provider "{name}"; {hint}')
    try:
        done = asyncio.run(synchronise(settings, only))
    except CatalogueError as error:
        give_up(str(error))
    missing = absent(done.catalogue, settings)
    if as_json or outer.get("as_json"):
        click.echo(orjson.dumps(_document(settings, done, missing), option=orjson.OPT_INDENT_2))
    else:
        for name, outcome in done.outcomes.items():
            click.echo(_told(name, outcome, done.catalogue))
        warn(missing, done.catalogue)
    sys.exit(FAULTY if any(isinstance(each.fetched, Failed) for each in done.outcomes.values()) else 0)


def warn(missing: list[Absent], catalogue: Catalogue) -> None:
    """A line on standard error for each target whose provider does not list it."""
    for each in missing:
        hint = nearest(each.target, catalogue.providers[each.provider].models)
        text = f'warning: model "{each.model}": "{each.target}" is not in the list of {each.provider}'
        click.echo(f"{text}, as of {each.fetched_at}{f'; {hint}' if hint else ''}", err=True)


def _told(name: str, outcome: Outcome, catalogue: Catalogue) -> str:
    fetched, changed = outcome
    if isinstance(fetched, Failed):
        kept = catalogue.providers.get(name)
        return f"{name}: {fetched}" + (f"; the list of {kept.fetched_at} is kept" if kept is not None else "")
    if isinstance(fetched, Skipped):
        return f"{name}: not asked: {fetched}"
    count = f"{len(fetched.models)} models{'' if fetched.complete else ', and more that are not kept'}"
    text = f"{name}: {count}, from {fetched.base_url}"
    if changed is None:
        return f"{text}; the first list"
    text += f"; {len(changed.new)} new, {len(changed.gone)} gone, {len(changed.changed)} changed"
    differing = [f"{model}: {_differing(fields)}" for model, fields in changed.changed.items()]
    for sign, lines in (("+", changed.new), ("-", changed.gone), ("~", differing)):
        text += "".join(f"\n  {sign} {line}" for line in lines[:_SHOWN])
        if len(lines) > _SHOWN:
            text += f"\n  {sign} and {len(lines) - _SHOWN} more"
    return text


def _differing(fields: dict[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{field} {_short(was)} → {_short(now)}" for field, (was, now) in fields.items())


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={each}" for name, each in sorted(value.items())) or "none"
    if isinstance(value, list | tuple):
        return "+".join(value) or "none"
    return "unknown" if value is None else str(value)


def _document(settings: Settings, done: Synchronised, missing: list[Absent]) -> dict[str, Any]:
    return {
        "file": str(Path(settings.data_dir) / NAME),
        "providers": [_row(name, outcome) for name, outcome in done.outcomes.items()],
        "absent": [each._asdict() for each in missing],
    }


def _row(name: str, outcome: Outcome) -> dict[str, Any]:
    fetched, changed = outcome
    if isinstance(fetched, Failed | Skipped):
        return {"name": name, "status": "failed" if isinstance(fetched, Failed) else "skipped", "reason": str(fetched)}
    return {
        "name": name,
        "status": "listed",
        "base_url": fetched.base_url,
        "fetched_at": fetched.fetched_at,
        "models": len(fetched.models),
        "complete": fetched.complete,
        "first": changed is None,
        "new": sorted(fetched.models) if changed is None else changed.new,
        "gone": [] if changed is None else changed.gone,
        "changed": {} if changed is None else changed.changed,
    }
