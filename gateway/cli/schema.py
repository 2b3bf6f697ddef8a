"""``gateway schema``: the JSON Schema that editors complete ``gateway.yaml`` with."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.settings.schema import schema_text


@click.command()
@click.option(
    "--write",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it to this file instead of standard output.",
)
def schema(write: Path | None) -> None:
    """Print or write the JSON Schema of gateway.yaml."""
    if write is None:
        click.echo(schema_text(), nl=False)
        return
    try:
        write.write_text(schema_text(), "utf-8")
    except OSError as error:
        raise click.FileError(str(write), error.strerror) from None
