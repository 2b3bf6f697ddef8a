"""Checks of what a model names beside its targets: shares for other models, copies, second calls, prices."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.settings.faults import Finding, Path, dotted, named, nearest
from gateway.settings.known_targets import TOLD
from gateway.settings.view import Item, as_dict, entries, names_of, text_of

Items = list[tuple[Path, Item]]


def check_models(models: Items, pricing: Items, providers: Items) -> Iterator[Finding]:
    """Every fault of the models' ``split``, ``shadow``, ``hedge`` and of strategies that lack what they go by."""
    known = names_of(models)
    priced = {(text_of(item, "provider"), text_of(item, "model")) for _, item in pricing}
    local = {text_of(item, "name") for _, item in providers if item.get("kind") == "llama_cpp"}
    by_name = {text_of(item, "name"): item for _, item in models}
    yield from _told_twice(models)
    for path, item in models:
        yield from _split(path, item, by_name, known)
        yield from _shadow(path, item, by_name, known, priced, local)
        targets = entries(item.get("targets"), ())
        if item.get("hedge") is not None and len(targets) == 1 and not item.get("fallbacks"):
            yield (*path, "hedge"), "a second call needs a second target", "add a target or a fallback"
        if item.get("strategy") == "least_cost" and not any(_has_price(target, priced, local) for _, target in targets):
            message = "least_cost goes by prices, and none of the targets has one"
            yield (*path, "strategy"), message, "add them to pricing"


def _told_twice(models: Items) -> Iterator[Finding]:
    """A provider's model is one target, whatever models name it: it can't be told of in two ways."""
    told: dict[tuple[str, str, str], tuple[Path, object]] = {}
    for path, item in models:
        for at, target in entries(item.get("targets"), (*path, "targets")):
            provider, model = text_of(target, "provider"), text_of(target, "model")
            for name in TOLD:
                value = target.get(name)
                if value is None or not (provider and model):  # a target without a name is a fault by itself
                    continue
                where, before = told.setdefault((provider, model, name), (at, value))
                if before != value:
                    message = "of the same target something else is said elsewhere"
                    yield (*at, name), message, f"at {dotted((*where, name))}; say it once"


def _split(path: Path, item: Item, by_name: dict[str, Item], known: list[str]) -> Iterator[Finding]:
    total = 0.0
    for at, share in entries(item.get("split"), (*path, "split")):
        name = text_of(share, "model")
        part = share.get("share")
        total += part if isinstance(part, int | float) and 0 < part <= 1 else 0.0  # another is a fault by itself
        if name and name == text_of(item, "name"):
            yield (*at, "model"), "this is the model itself, which gets the rest anyway", "name another model"
        elif name and name not in by_name:
            yield (*at, "model"), f'there is no model "{named(name)}"', _hint(name, known)
        elif name and by_name[name].get("split"):
            message = f'the model "{named(name)}" is split itself, and shares of shares are not followed'
            yield (*at, "model"), message, "name the models that answer"
    if total > 1.0 + 1e-9:
        yield (*path, "split"), f"the shares add up to {total:g}", "they may add up to at most 1"


def _shadow(
    path: Path,
    item: Item,
    by_name: dict[str, Item],
    known: list[str],
    priced: set[tuple[str, str]],
    local: set[str],
) -> Iterator[Finding]:
    name = text_of(as_dict(item.get("shadow")), "model")
    at = (*path, "shadow", "model")
    if not name:
        return
    if name == text_of(item, "name"):
        yield at, "a model can't be its own shadow", "name another model"
    elif name not in by_name:
        yield at, f'there is no model "{named(name)}"', _hint(name, known)
    else:
        for _, target in entries(by_name[name].get("targets"), ()):
            if not _has_price(target, priced, local):
                message = f'a target of the model "{named(name)}" has no price to count against the budget'
                yield at, message, "add it to pricing, with 0 where it costs nothing"
                return


def _has_price(target: Item, priced: set[tuple[str, str]], local: set[str]) -> bool:
    provider = text_of(target, "provider")
    return provider in local or (provider, text_of(target, "model")) in priced


def _hint(name: str, known: list[str]) -> str | None:
    return nearest(name, known) or (f"known: {', '.join(named(item) for item in known[:10])}" if known else None)
