"""Checks of a provider against its kind: the options it takes, its base URL, its credential."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.settings.faults import Finding, Path, nearest
from gateway.settings.kinds import LOCAL, ProviderKind, base_url_of, kind_of, names, needed, options_of
from gateway.settings.view import Item, as_dict


def _kind(item: Item) -> tuple[str, ProviderKind | None]:
    name = item.get("kind", "openai")
    return str(name), kind_of(name) if name in names() else None


def check_kind(path: Path, item: Item) -> Iterator[Finding]:
    """Every fault of a provider that is an API."""
    name, kind = _kind(item)
    if kind is None:
        return
    if "llama_cpp" in item:
        yield (*path, LOCAL), "only a provider of kind llama_cpp takes these options", None
    for field in ("base_url", "proxy"):
        if not _is_reachable(item.get(field)):
            yield (*path, field), "expected a URL with a host and a port from 1 to 65535", None
    given = as_dict(item.get("options"))
    yield from _options((*path, "options"), given, name, kind)
    if item.get("base_url") is None:
        if "kind" not in item:
            yield path, "a provider of kind openai needs a base_url", "such as https://api.openai.com/v1"
        elif base_url_of(kind, options_of(kind, given)) is None:
            lacking = " and ".join(f"options.{each}" for each in needed(kind) if each not in options_of(kind, given))
            yield path, f"a provider of kind {name} needs {lacking or 'a base_url'}, or a base_url", None


def _is_reachable(url: object) -> bool:
    """Whether a URL's host and port can be ones; what is no such URL at all is told elsewhere."""
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        return True
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _options(at: Path, given: Item, name: str, kind: ProviderKind) -> Iterator[Finding]:
    known = list(kind.options)
    for option, value in given.items():
        if option not in kind.options:
            hint = nearest(option, known) or (f"it takes: {', '.join(known)}" if known else "it takes none")
            yield (*at, option), f"a provider of kind {name} has no such option", hint
        elif not isinstance(value, str):
            yield (*at, option), f"expected a text: {kind.options[option].about}", None
    account = given.get("service_account")
    if name == "vertex" and isinstance(account, str) and not _is_account(account):
        message = "expected a service account's key file, which is JSON with client_email and private_key"
        yield (*at, "service_account"), message, "such as ${file:/etc/gateway/account.json}"
    together = {"tenant_id": ("client_id", "client_secret"), "access_key_id": ("secret_access_key",)}
    for option, others in together.items():
        for other in others:
            if option in kind.options and given.get(option) and not given.get(other):
                yield at, f"{option} needs {other} too", kind.options[other].about


def _is_account(text: str) -> bool:
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and all(isinstance(found.get(key), str) for key in ("client_email", "private_key"))


def doubt_kind(path: Path, item: Item) -> Iterator[Finding]:
    """A vendor's own API that no credential is given for."""
    _, kind = _kind(item)
    if kind is None or kind.key == "optional" or item.get("base_url") is not None or item.get("api_key"):
        return
    given = as_dict(item.get("options"))
    if not any(given.get(option) for option in kind.unless) and not as_dict(item.get("headers")):
        others = f", or options.{' or options.'.join(kind.unless)}" if kind.unless else ""
        yield path, f"{kind.name} wants a credential", f"give an api_key{others}"
