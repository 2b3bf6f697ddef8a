"""``gateway check``: every fault of the configuration at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import orjson
from msgspec.structs import asdict
from rich.console import Console
from rich.text import Text

from gateway.cli.config import FAULTY, config_option, config_path, json_option, read_config
from gateway.settings.faults import ConfigError, Fault


@click.command()
@config_option
@json_option
def check(config: Path | None, as_json: bool) -> None:
    """Check the configuration and report every fault at once.

    Exit code 0: usable, 1: faulty. Warnings alone do not make it faulty.
    """
    path = config_path(config)
    try:
        faults = read_config(path, os.environ).warnings
    except ConfigError as error:
        faults = error.faults
    errors = sum(fault.severity == "error" for fault in faults)
    if as_json:
        listed = [asdict(fault) for fault in faults]
        file = str(path) if path is not None else None
        click.echo(orjson.dumps({"file": file, "ok": errors == 0, "faults": listed}, option=orjson.OPT_INDENT_2))
    else:
        _print(path, faults, errors)
    sys.exit(FAULTY if errors else 0)


def _print(path: Path | None, faults: tuple[Fault, ...], errors: int) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for fault in faults:
        console.print(_line(fault))
        if fault.hint:
            console.print(Text(f"    {fault.hint}", style="cyan"))
    if errors:
        console.print(Text(f"{errors} fault{'s' if errors != 1 else ''} found.", style="bold red"))
    elif path is None:
        console.print("There is no gateway.yaml here; the embedded defaults are used.")
    else:
        console.print(Text(f"{path} is usable.", style="bold green"))


def _line(fault: Fault) -> Text:
    style = "bold red" if fault.severity == "error" else "bold yellow"
    line = Text.assemble((f"{fault.file}:{fault.line}:{fault.column}", "dim"), " ", (fault.severity, style), ": ")
    if fault.path:
        line.append(fault.path, style="bold").append(": ")
    return line.append(fault.message)
