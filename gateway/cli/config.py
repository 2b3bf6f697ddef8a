"""What every command that reads the configuration shares."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from gateway.settings.faults import ConfigError, Fault
from gateway.settings.load import Loaded, read

DEFAULT = Path("gateway.yaml")
FAULTY = 1

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


def read_or_exit(path: Path | None) -> Loaded:
    """The configuration, or every fault on standard error and exit code 1."""
    try:
        return read(path, os.environ)
    except ConfigError as error:
        fail(error.faults)


def fail(faults: tuple[Fault, ...]) -> NoReturn:
    """Print faults on standard error, one a line, and exit with code 1."""
    for fault in faults:
        click.echo(f"{fault.severity}: {fault}", err=True)
    errors = sum(fault.severity == "error" for fault in faults)
    click.echo(f"The configuration has {errors} fault{'s' if errors != 1 else ''}; nothing was started.", err=True)
    sys.exit(FAULTY)
