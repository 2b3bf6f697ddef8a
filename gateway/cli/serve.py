"""``gateway serve`` and ``gateway proxy``: read, bind, start, and supervise until told to stop.

========  ==========================================
exit code  meaning
========  ==========================================
0         stopped as asked, nothing was cut off
1         the configuration is faulty
2         the command line is faulty
3         the address cannot be listened on, or ``data_dir`` cannot be used
4         a worker ended before it was ready
5         a process did not finish in time and was killed
130       a second Ctrl-C stopped everything at once
========  ==========================================
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import click

from gateway.cli.banner import Started, banner, ready_line, wants_color
from gateway.cli.config import config_option, config_path, json_option, read_or_exit
from gateway.cli.listen import ListenError, listen
from gateway.cli.rundir import find_sidecar, sidecar_socket, socket_path
from gateway.cli.supervisor import Launch, Supervisor
from gateway.contract.internal import KNOWN
from gateway.kernel import logs
from gateway.settings.master_key import MasterKeyError, ensure
from gateway.settings.model import Settings

CANNOT_START = 3


@click.command()
@config_option
@json_option
def serve(config: Path | None, as_json: bool) -> None:
    """Run the gateway with everything it needs."""
    sys.exit(_run(config, as_json, with_sidecar=True))


@click.command()
@config_option
@json_option
def proxy(config: Path | None, as_json: bool) -> None:
    """Run the data plane alone, with the sidecar at sidecar.url or beside data_dir if one is there."""
    sys.exit(_run(config, as_json, with_sidecar=False))


def _run(config: Path | None, as_json: bool, *, with_sidecar: bool) -> int:
    path = config_path(config)
    if path is None:
        click.echo("There is no gateway.yaml here; serving the model that runs on this machine.", err=True)
    loaded = read_or_exit(path)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    settings = loaded.settings
    try:
        # The port first: a start that fails because of it must not leave a key nobody has seen.
        sockets = listen(settings.server.host, settings.server.port)
        master_key, made = (settings.master_key, False) if settings.master_key else ensure(settings.data_dir)
        local_socket = socket_path(settings.data_dir)
        own_sidecar = sidecar_socket(settings.data_dir) if with_sidecar else None
    except (ListenError, MasterKeyError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        return CANNOT_START
    logs.configure()
    launch = Launch(
        loaded=loaded,
        config_path=path.absolute() if path is not None else None,
        env=os.environ,
        sockets=sockets,
        master_key=master_key,
        local_socket=local_socket,
        sidecar=_sidecar_address(settings, own_sidecar),
        sidecar_socket=own_sidecar,
    )
    started = _started(launch, master_key if made else None)
    try:
        return Supervisor(launch, lambda: _announce(started, as_json)).run()
    finally:
        Path(local_socket).unlink(missing_ok=True)


def _sidecar_address(settings: Settings, own: str | None) -> str | None:
    if own is None and settings.sidecar.url is not None:
        return settings.sidecar.url
    path = own or find_sidecar(settings.data_dir)
    if path is None and (Path(settings.data_dir) / KNOWN).exists():
        path = sidecar_socket(settings.data_dir)  # there was one, and it may come back
    return f"unix:{path}" if path is not None else None


def _started(launch: Launch, new_key: str | None) -> Started:
    loaded = launch.loaded
    return Started(
        settings=loaded.settings,
        port=launch.sockets[0].getsockname()[1],
        sidecar=launch.sidecar,
        new_key=new_key,
        key_given=loaded.settings.master_key is not None,
        key_variable=loaded.master_key_variable,
    )


def _announce(started: Started, as_json: bool) -> None:
    # Whoever started the gateway may have closed its standard output; it serves all the same.
    with contextlib.suppress(OSError):
        print(ready_line(started) if as_json else banner(started, color=wants_color()), flush=True)
