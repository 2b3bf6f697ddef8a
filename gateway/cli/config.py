"""What every command that reads the configuration shares."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from gateway.settings.faults import ConfigError, Fault, Finding
from gateway.settings.load import Loaded, read
from gateway.settings.model import PluginUse

DEFAULT = Path("gateway.yaml")
FAULTY = 1
IMPOSSIBLE = 2

_F = TypeVar("_F", bound=Callable[..., Any])


def config_option(function: _F) -> _F:
    """The ``--config`` option."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        default=None,
        help="The configuration file.  [default: ./gateway.yaml; without it a model that runs on this machine]",
    )(function)


def json_option(function: _F) -> _F:
    """The ``--json`` option."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(function)


def config_path(given: Path | None) -> Path | None:
    """The file to read; None for the embedded defaults."""
    if given is not None:
        return given
    return DEFAULT if DEFAULT.exists() else None


def read_config(path: Path | None, env: Mapping[str, str]) -> Loaded:
    """The configuration with its plugins checked. Raises :class:`ConfigError`."""
    return read(path, env, _plugin_faults)


def _plugin_faults(uses: tuple[PluginUse | None, ...], base: Path, redis_url: str | None) -> list[Finding]:
    # Only a configuration that names plugins pays for importing them.
    from gateway.plugin.api import PluginContext  # noqa: PLC0415
    from gateway.plugin.load import PluginError, load_plugins  # noqa: PLC0415

    try:
        # The plugins are made to be checked and thrown away unstarted, so they touch neither directory nor Redis.
        load_plugins(uses, PluginContext(data_dir=str(base), redis_url=redis_url), base)
    except PluginError as error:
        return [(fault.path, fault.message, fault.hint) for fault in error.faults]
    return []


def read_or_exit(path: Path | None) -> Loaded:
    """The configuration, or every fault on standard error and exit code 1."""
    try:
        return read_config(path, os.environ)
    except ConfigError as error:
        fail(error.faults)


def fail(faults: tuple[Fault, ...]) -> NoReturn:
    """Print faults on standard error, one a line, and exit with code 1."""
    for fault in faults:
        click.echo(f"{fault.severity}: {fault}", err=True)
    errors = sum(fault.severity == "error" for fault in faults)
    click.echo(f"The configuration has {errors} fault{'s' if errors != 1 else ''}; nothing was done.", err=True)
    sys.exit(FAULTY)


def give_up(message: str, code: int = IMPOSSIBLE) -> NoReturn:
    """Print on standard error why a command can't be done, and exit."""
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


def needed(module: str, extra: str) -> Any:
    """A module that needs libraries the base installation does not have; exits where ``extra`` is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("gateway"):
            raise
        give_up(f"{error.name} is not installed: pip install 'llm-gateway[{extra}]'")
