"""``gateway sidecar``: the process that owns accounts, keys and money, alone.

=========  ==========================================================================
exit code  meaning
=========  ==========================================================================
0          stopped as asked
1          the configuration is faulty
2          the command line is faulty
3          ``data_dir`` cannot be used
69         an address is taken: another sidecar may listen there
75         the database can't be used now
78         the configuration can't be served, such as without the database's driver
=========  ==========================================================================
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from functools import partial
from pathlib import Path

import click
import orjson

from gateway.cli.config import config_option, config_path, json_option, read_or_exit
from gateway.cli.rundir import sidecar_socket
from gateway.cli.serve import CANNOT_START
from gateway.kernel import logs
from gateway.settings.master_key import key_file
from gateway.settings.model import Settings


@click.command()
@config_option
@json_option
def sidecar(config: Path | None, as_json: bool) -> None:
    """Run the sidecar alone: accounts, keys, money and the admin APIs.

    The data planes are run by gateway proxy, on this machine or on others.
    """
    path = config_path(config)
    loaded = read_or_exit(path)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    try:
        socket_path = sidecar_socket(loaded.settings.data_dir)
    except OSError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(CANNOT_START)
    logs.configure()
    # Nobody but this command has a use for it.
    from gateway.sidecar.run import Options, run  # noqa: PLC0415

    options = Options(
        config_path=path.absolute() if path is not None else None,
        socket_path=socket_path,
        env=os.environ,
        on_ready=partial(_announce, as_json),
    )
    sys.exit(run(options))


def _announce(as_json: bool, settings: Settings, listening: list[socket.socket]) -> None:
    unix, *tcp = listening
    urls = [f"unix:{unix.getsockname()}", *(_url(item) for item in tcp)]
    kept = None if settings.master_key is not None else str(key_file(settings.data_dir))
    if as_json:
        line = orjson.dumps({"event": "ready", "urls": urls, "pid": os.getpid(), "master_key_file": kept}).decode()
    else:
        line = f"The sidecar answers at {', '.join(urls)}" + (f"; the master key is kept in {kept}" if kept else "")
    # Whoever started the sidecar may have closed its standard output; it serves all the same.
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
