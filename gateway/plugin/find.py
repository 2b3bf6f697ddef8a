"""From a name in ``gateway.yaml`` to a plugin class: shipped, installed as an entry point, or a file.

Shipped names are looked up first and by direct import, because scanning the metadata of every installed
distribution costs more than the rest of the start.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from msgspec import Struct

from gateway.plugin.api import Plugin

GROUP = "llm_gateway.plugins"
"""The entry point group of installed plugins."""

_HOOKS = tuple(name for name in vars(Plugin) if name.startswith("on_"))


class Unusable(ValueError):
    """A plugin that cannot be used: ``field`` is the faulty key of its entry in ``gateway.yaml``."""

    def __init__(self, field: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.hint = hint


def nearest(name: str, known: Iterable[str]) -> str | None:
    """``did you mean "x"?`` for the nearest known name, or None."""
    import difflib  # noqa: PLC0415 - only a faulty file needs it

    found = difflib.get_close_matches(name[:200].replace("-", "_"), list(known), 1, 0.6)
    return f'did you mean "{found[0]}"?' if found else None


def shipped_names() -> list[str]:
    """The names of the plugins that come with the gateway."""
    package = importlib.import_module("plugins")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg)


def find_class(name: str, path: str | None, base_dir: Path) -> type[Plugin]:
    """The class of one entry of ``plugins``. Raises :class:`Unusable`."""
    if path is not None:
        found = _from_file(name, path, base_dir)
    elif name.isidentifier() and importlib.util.find_spec(f"plugins.{name}") is not None:
        found = _only_class(_import(f"plugins.{name}"), name, "name")
    else:
        found = _from_entry_point(name)
    return _checked(found, name)


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise Unusable("name", f"needs the package {error.name!r}, which is not installed") from error


def _from_entry_point(name: str) -> Any:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow to import and to scan; only a foreign name needs it

    points = entry_points(group=GROUP)
    for point in points.select(name=name):
        try:
            return point.load()
        except Exception as error:
            raise Unusable("name", f"its entry point {point.value} cannot be loaded: {_brief(error)}") from error
    known = sorted({*shipped_names(), *points.names})
    hint = nearest(name, known) or f"known here: {', '.join(known)}; a file of your own is named by path"
    raise Unusable("name", "no such plugin", hint)


def _from_file(name: str, path: str, base_dir: Path) -> Any:
    file_name, colon, class_name = path.rpartition(":")
    if not colon or not class_name.isidentifier():
        file_name, class_name = path, ""
    file = base_dir / file_name
    if not file.is_file():
        raise Unusable("path", "no such file; a relative path starts at the folder of gateway.yaml")
    module = _execute(file)
    if not class_name:
        return _only_class(module, name, "path")
    found = vars(module).get(class_name)
    if found is None:
        known = [key for key, value in vars(module).items() if inspect.isclass(value)]
        raise Unusable("path", f"the file has no class {class_name}", nearest(class_name, known))
    return found


def _execute(file: Path) -> ModuleType:
    # Always executed afresh, so that a changed file takes effect when the configuration is replaced.
    digest = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]
    name = f"gateway_plugin_{digest}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise Unusable("path", "expected a Python file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # typed configurations resolve their annotations through it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise Unusable("path", f"the file cannot be loaded: {_brief(error)}") from error
    return module


def _only_class(module: ModuleType, name: str, field: str) -> Any:
    classes = {
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Plugin) and value is not Plugin
    }
    named = [value for value in classes if getattr(value, "name", None) == name]
    candidates = named or list(classes)
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise Unusable(field, "expected a class that derives from gateway.plugin.api.Plugin, found none")
    names = ", ".join(sorted(value.__name__ for value in candidates))
    raise Unusable(field, f'expected one plugin class, found {names}; name one as "file.py:ClassName"')


def _checked(found: Any, name: str) -> type[Plugin]:
    if not inspect.isclass(found) or not issubclass(found, Plugin):
        raise Unusable("name", "expected a class that derives from gateway.plugin.api.Plugin")
    own = getattr(found, "name", None)
    if own != name:
        raise Unusable("name", f"the class {found.__name__} calls itself {own!r}; both names must be the same")
    if not (inspect.isclass(found.Config) and issubclass(found.Config, Struct)):
        raise Unusable("name", f"{found.__name__}.Config must be a msgspec.Struct")
    for hook in dir(found):
        if hook.startswith("on_") and hook not in _HOOKS:
            raise Unusable("name", f"the class {found.__name__} has an unknown hook {hook}", nearest(hook, _HOOKS))
    return found


def _brief(error: BaseException) -> str:
    place = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
    return f"{type(error).__name__}: {error}"[:300] + place
