"""What a started gateway prints: for people a few lines and a command to paste, for programs one JSON line."""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys

import orjson
from msgspec import Struct

from gateway import __version__
from gateway.cli.url import base_url
from gateway.settings.master_key import key_file
from gateway.settings.model import Settings


class Started(Struct, frozen=True, kw_only=True):
    """What is told of a started gateway. ``port`` is the one really listened on.

    ``new_key`` is the master key where it was made just now, and the only secret ever printed. ``key_variable`` is the
    environment variable that gave it, ``key_given`` tells that the configuration gave it in any way. ``sidecar`` is
    where the sidecar is: ``unix:/path`` or a URL.
    """

    settings: Settings
    port: int
    new_key: str | None
    key_given: bool
    key_variable: str | None
    sidecar: str | None = None

    @property
    def url(self) -> str:
        """The base URL an app on this machine uses."""
        return base_url(self.settings.server.host, self.port)


def ready_line(started: Started) -> str:
    """One line of JSON for programs."""
    settings = started.settings
    line = {
        "event": "ready",
        "url": started.url,
        "pid": os.getpid(),
        "models": [model.name for model in settings.models],
        "master_key_file": None if started.key_given else str(key_file(settings.data_dir)),
        "local": local_state(settings),
        "sidecar": started.sidecar,
    }
    return orjson.dumps(line).decode()


def banner(started: Started, *, color: bool) -> str:
    """A few lines for people."""
    settings = started.settings
    bold, dim, reset = ("\033[1m", "\033[2m", "\033[0m") if color else ("", "", "")
    rows = [
        ("base URL", f"{bold}{started.url}{reset}"),
        ("models", ", ".join(model.name for model in settings.models) or "none configured"),
        ("key", _key_words(started)),
    ]
    local = local_state(settings)
    if local is not None:
        rows.append(("local", local))
    lines = [f"{bold}LLM gateway {__version__}{reset}", ""]
    lines += [f"  {dim}{name:<9}{reset} {text}" for name, text in rows]
    if settings.models:
        lines += ["", f"  {dim}Try it:{reset}", "", _curl(started), ""]
    return "\n".join(lines)


def local_state(settings: Settings) -> str | None:
    """What the models on this machine are doing, and what to do about it; None where none are configured."""
    providers = [provider for provider in settings.providers if provider.kind == "llama_cpp"]
    if not providers:
        return None
    # Only a configuration with local models pays for this import.
    from gateway.local import install_status  # noqa: PLC0415

    status = install_status.read()
    if status is not None and status.running:
        return install_status.explain(status)[0]
    if importlib.util.find_spec("llama_cpp") is None:
        return install_status.explain(status)[0]
    names = [name for item in providers for name in (item.model, *item.models) if name]
    return f"{', '.join(dict.fromkeys(names))} (loaded at the first request)"


def _key_words(started: Started) -> str:
    if started.new_key is not None:
        where = _shown_path(started)
        return f"{started.new_key}  (made now, shown only this once, kept in {where})"
    if started.key_variable is not None:
        return f"the master key in ${started.key_variable}"
    if started.key_given:
        return "the master_key of the configuration"
    return f"in {_shown_path(started)}"


def _curl(started: Started) -> str:
    if started.new_key is not None:
        key = started.new_key
    elif started.key_variable is not None:
        key = f"${started.key_variable}"
    elif started.key_given:
        key = "YOUR_MASTER_KEY"
    else:
        key = f"$(cat {shlex.quote(_shown_path(started))})"
    model = started.settings.models[-1].name
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": "Say hello."}]}).decode()
    return (
        f"curl {started.url}/chat/completions \\\n"
        f'  -H "Authorization: Bearer {key}" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(body)}"
    )


def _shown_path(started: Started) -> str:
    """The key file as it can be used from here, short where it is below the working directory."""
    path = str(key_file(started.settings.data_dir))
    here = os.path.relpath(path)
    return path if here.startswith("..") else here


def wants_color() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()
