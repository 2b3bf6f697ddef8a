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
from gateway.cli.targets import Targets, Told, described, read_targets
from gateway.cli.url import base_url
from gateway.settings.master_key import MasterKeyError, existing
from gateway.settings.model import Model, Settings, Target

TIMEOUT = 5.0


@click.command()
@config_option
@json_option
def models(config: Path | None, as_json: bool) -> None:
    """List the models and what answers them: of the running gateway, and how its targets do, or as configured."""
    settings = read_or_exit(config_path(config)).settings
    running = _running(settings)
    configured = {model.name: model for model in settings.models}
    names = running if running is not None else list(configured)
    root = base_url(settings.server.host, settings.server.port).removesuffix("/v1")
    told = read_targets(root, TIMEOUT) if running is not None else {}
    rows = [_row(name, configured.get(name), told) for name in names]
    if as_json:
        source = "running" if running is not None else "configured"
        click.echo(orjson.dumps({"source": source, "models": rows}, option=orjson.OPT_INDENT_2))
        return
    console = Console(highlight=False)
    url = base_url(settings.server.host, settings.server.port)
    console.print(_table(rows, f"served at {url}" if running is not None else "configured; the gateway is not running"))


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


def _row(name: str, model: Model | None, told: Targets) -> dict[str, Any]:
    if model is None:
        return {"name": name, "strategy": None, "targets": [], "fallbacks": []}
    return {
        "name": name,
        "strategy": model.strategy,
        "targets": [
            {"provider": target.provider, "model": target.model, "weight": target.weight, **_told(target, told)}
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
