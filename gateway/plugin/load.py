"""From the ``plugins`` section of ``gateway.yaml`` to a chain, reporting every fault at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from gateway.kernel.errors import GatewayError
from gateway.plugin.api import Plugin, PluginContext
from gateway.plugin.chain import Chain
from gateway.plugin.failures import Fail, OnFailure
from gateway.plugin.find import Unusable, find_class, nearest

if TYPE_CHECKING:
    from gateway.settings.model import PluginUse

FaultPath: TypeAlias = tuple[str | int, ...]

_AT = re.compile(r" - at `\$(.*)`$")
_PART = re.compile(r"\[(\d+)\]|\[\.\.\.\]|\.?([^.\[]+)")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`$")
_MISSING = re.compile(r"Object missing required field `(.*)`$")


class PluginFault(Struct, frozen=True):
    """One fault. ``path`` leads to the faulty key from the root of the file: ``("plugins", 0, "with", "ttl")``."""

    plugin: str
    path: FaultPath
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path).lstrip(".")
        hint = f" ({self.hint})" if self.hint else ""
        return f'plugin "{self.plugin}": {dotted}: {self.message}{hint}'


class PluginError(ValueError):
    """The ``plugins`` section cannot be used. ``faults`` holds everything that is wrong with it."""

    def __init__(self, faults: Sequence[PluginFault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, faults)))


def load_plugins(uses: Sequence[PluginUse | None], context: PluginContext, base_dir: Path) -> list[tuple[Plugin, Fail]]:
    """Make the plugins with their fail policies, in order, not started. Raises :class:`PluginError`.

    ``base_dir`` is the folder of ``gateway.yaml``, where a relative ``path`` starts. None stands for an entry that was
    found faulty before: it is passed over, and keeps the places of those after it right.
    """
    loaded: list[tuple[Plugin, Fail]] = []
    faults: list[PluginFault] = []
    seen: dict[str, int] = {}
    for index, use in enumerate(uses):
        if use is None:
            continue
        if use.name in seen:
            message = f"already in the chain as plugins[{seen[use.name]}]; a plugin can be used once"
            faults.append(PluginFault(use.name, ("plugins", index, "name"), message))
            continue
        seen[use.name] = index
        plugin = _make(use, index, context, base_dir, faults)
        if plugin is not None:
            loaded.append((plugin, use.fail))
    if faults:
        raise PluginError(faults)
    return loaded


def build_chain(
    uses: Sequence[PluginUse], context: PluginContext, base_dir: Path, on_failure: OnFailure | None = None
) -> Chain:
    """The chain of ``gateway.yaml``, not started. Raises :class:`PluginError`."""
    return Chain(load_plugins(uses, context, base_dir), on_failure)


def _make(
    use: PluginUse, index: int, context: PluginContext, base_dir: Path, faults: list[PluginFault]
) -> Plugin | None:
    root: FaultPath = ("plugins", index)
    try:
        found = find_class(use.name, use.path, base_dir)
    except Unusable as error:
        faults.append(PluginFault(use.name, (*root, error.field), error.message, error.hint))
        return None
    try:
        config = msgspec.convert(use.with_, found.Config, strict=True)
    except msgspec.ValidationError as error:
        faults.append(_explain(str(error), use, root, found.Config))
        return None
    unknown = set(use.with_) - {field.encode_name for field in msgspec.structs.fields(found.Config)}
    for key in sorted(unknown):
        faults.append(_unknown_key(key, use, (*root, "with", key), found.Config))
    if unknown:
        return None
    try:
        return found(config, context)
    except (ValueError, GatewayError) as error:
        # A GatewayError's own field tells which key of the configuration is at fault.
        field = getattr(error, "field", None)
        where = (*root, "with", field) if field else (*root, "with")
        faults.append(PluginFault(use.name, where, str(error)))
    except Exception as error:
        faults.append(PluginFault(use.name, (*root, "with"), f"cannot be made from this: {type(error).__name__}"))
    return None


def _unknown_key(key: str, use: PluginUse, path: FaultPath, config: Any) -> PluginFault:
    known = [field.encode_name for field in msgspec.structs.fields(config)]
    hint = nearest(key, known) or (f"known here: {', '.join(known)}" if known else "this plugin has no configuration")
    return PluginFault(use.name, path, "unknown key", hint)


def _explain(text: str, use: PluginUse, root: FaultPath, config: Any) -> PluginFault:
    at = _AT.search(text)
    inner = _parts(at.group(1)) if at else ()
    message = text[: at.start()] if at else text
    path: FaultPath = (*root, "with", *inner)
    owner = _type_at(config, inner)
    if unknown := _UNKNOWN.match(message):
        key = unknown.group(1)
        if isinstance(owner, type) and issubclass(owner, Struct):
            return _unknown_key(key, use, (*path, key), owner)
        return PluginFault(use.name, (*path, key), "unknown key")
    if missing := _MISSING.match(message):
        return PluginFault(use.name, (*path, missing.group(1)), "required, and not given")
    if message.startswith("Invalid enum value"):
        # The validator repeats the value, which could be a misplaced secret.
        allowed = ", ".join(map(str, get_args(owner))) if get_origin(owner) is Literal else ""
        return PluginFault(use.name, path, f"expected one of {allowed}" if allowed else "not one of the allowed values")
    return PluginFault(use.name, path, message[0].lower() + message[1:])


def _parts(path: str) -> FaultPath:
    parts: list[str | int] = []
    for match in _PART.finditer(path):
        if match.group(1) is not None:
            parts.append(int(match.group(1)))
        else:
            parts.append(match.group(2) if match.group(2) is not None else "…")
    return tuple(parts)


def _type_at(root: Any, path: FaultPath) -> Any:
    """The declared type at a path below a config class; None where it cannot be told."""
    found: Any = root
    for part in path:
        if isinstance(found, type) and issubclass(found, Struct):
            names = {field.encode_name: field.name for field in msgspec.structs.fields(found)}
            found = get_type_hints(found).get(names.get(str(part), ""))
        else:
            arguments = [argument for argument in get_args(found) if argument is not Ellipsis]
            found = arguments[-1] if arguments else None
        options = [option for option in get_args(found) if option is not type(None)]
        if type(None) in get_args(found) and len(options) == 1:
            found = options[0]
    return found
