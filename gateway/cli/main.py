"""The command line.

A command's module is imported only when that command runs: ``check`` and ``models`` need libraries that would double
the time until ``serve`` answers its first request.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from gateway import __version__
from gateway.settings.faults import nearest

COMMANDS = {
    "serve": ("gateway.cli.serve", "Run the gateway with everything it needs."),
    "proxy": ("gateway.cli.serve", "Run the data plane alone."),
    "sidecar": ("gateway.cli.sidecar", "Run the sidecar alone: accounts, keys, money and the admin APIs."),
    "check": ("gateway.cli.check", "Check the configuration and report every fault at once."),
    "models": ("gateway.cli.models", "List the models, and refresh what the providers tell of theirs."),
    "keys": ("gateway.cli.keys", "Make, list, rotate and revoke keys for apps."),
    "audit": ("gateway.cli.audit", "Verify the audit log."),
    "usage": ("gateway.cli.usage", "Look at the ledger: what is pending, is it whole."),
    "router": ("gateway.cli.router", "Train, use and question the router that learns."),
    "schema": ("gateway.cli.schema", "Print or write the JSON Schema of gateway.yaml."),
}


class Commands(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and give one command; None for an unknown name."""
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        command: click.Command = getattr(importlib.import_module(found[0]), cmd_name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click does, with the nearest known name for an unknown one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = nearest(args[0], COMMANDS) or f"commands: {', '.join(COMMANDS)}"
            ctx.fail(f'No such command "{args[0]}"; {hint}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gateway")
def cli() -> None:
    """An LLM gateway: one base URL in front of every model."""


def main() -> None:
    """The entry point of the ``gateway`` command."""
    sys.exit(cli(standalone_mode=True))
