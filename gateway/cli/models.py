"""``gateway models``: what can be asked for, and what answers it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import httpx
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli.config import config_option, config_path, json_option, read_or_exit
from gateway.cli.models_sync import sync, warn
from gateway.cli.targets import Targets, Told, described, read_targets
from gateway.cli.url import base_url
from gateway.domain.catalogue.file import CatalogueError, read
from gateway.domain.catalogue.model import Catalogue, absent, current
from gateway.settings.master_key import MasterKeyError, existing
from gateway.settings.model import Model, Settings, Target

TIMEOUT = 5.0


@click.group(invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def models(context: click.Context, config: Path | None, as_json: bool) -> None:
    """List the models and what answers them: of the running gateway, and how its targets do, or as configured."""
    if context.invoked_subcommand is not None:
        return
    settings = read_or_exit(config_path(config)).settings
    running = _running(settings)
    configured = {model.name: model for model in settings.models}
    names = running if running is not None else list(configured)
    root = base_url(settings.server.host, settings.server.port).removesuffix("/v1")
    told = read_targets(root, TIMEOUT) if running is not None else {}
    listed = _Listed(settings)
    rows = [_row(name, configured.get(name), told, listed) for name in names]
    warn(listed.missing, listed.catalogue)
    if as_json:
        source = "running" if running is not None else "configured"
        click.echo(orjson.dumps({"source": source, "models": rows}, option=orjson.OPT_INDENT_2))
        return
    console = Console(highlight=False)
    url = base_url(settings.server.host, settings.server.port)
    console.print(_table(rows, f"served at {url}" if running is not None else "configured; the gateway is not running"))


models.add_command(sync)


class _Listed:
    """Which targets their providers list, as far as ``gateway models sync`` has asked them."""

    def __init__(self, settings: Settings) -> None:
        try:
            self.catalogue = read(settings.data_dir)
        except CatalogueError as error:
            click.echo(f"warning: {error}; gateway models sync makes it anew", err=True)
            self.catalogue = Catalogue()
        self.missing = absent(self.catalogue, settings)
        self._asked = {name for name, listing in current(self.catalogue, settings).items() if listing.complete}
        self._missing = {(each.provider, each.target) for each in self.missing}

    def of(self, target: Target) -> dict[str, bool]:
        """``listed``, where the provider was asked."""
        if target.provider not in self._asked:
            return {}
        return {"listed": (target.provider, target.model) not in self._missing}


def _running(settings: Settings) -> list[str] | None:
    """The names the running gateway lists; None where none answers at the configured address."""
    if settings.server.port == 0:
        return None
    try:
        key = settings.master_key or existing(settings.data_dir)
    except MasterKeyError as error:
        click.echo(f"warning: {error}", err=True)
        key = None
    if key is None:
        return None
    url = f"{base_url(settings.server.host, settings.server.port)}/models"
    try:
        # The key is for this machine's gateway: a proxy of the environment must not see it.
        answer = httpx.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT, trust_env=False)
    except httpx.HTTPError:
        return None
    try:
        answer.raise_for_status()
        return [str(item["id"]) for item in answer.json()["data"]]
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError):
        click.echo(
            f"warning: what answers at {url} is not this gateway (status {answer.status_code}); "
            "showing the configured models",
            err=True,
        )
        return None


def _row(name: str, model: Model | None, told: Targets, listed: _Listed) -> dict[str, Any]:
    if model is None:
        return {"name": name, "strategy": None, "targets": [], "fallbacks": []}
    return {
        "name": name,
        "strategy": model.strategy,
        "targets": [
            {
                "provider": target.provider,
                "model": target.model,
                "weight": target.weight,
                **listed.of(target),
                **_told(target, told),
            }
            for target in model.targets
        ],
        "fallbacks": list(model.fallbacks),
    }


def _told(target: Target, told: Targets) -> Told:
    return told.get((target.provider, target.model), {})


def _state(target: dict[str, Any]) -> str:
    words = described(target)
    return f" ({words})" if words else ""


def _table(rows: list[dict[str, Any]], title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="dim")
    for heading in ("model", "strategy", "targets", "fallbacks"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        weighted = row["strategy"] == "weighted"
        targets = [
            f"{item['provider']}/{item['model']}" + (f" ×{item['weight']:g}" if weighted else "") + _state(item)
            for item in row["targets"]
        ]
        # Names are shown as they are: as markup, brackets in them would be commands.
        cells = (row["name"], row["strategy"] or "", "\n".join(targets), ", ".join(row["fallbacks"]))
        table.add_row(*(Text(cell) for cell in cells))
    return table
