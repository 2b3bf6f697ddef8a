"""``gateway.yaml`` to frozen settings: read, expand, convert, check.

This and the command line that passes it ``os.environ`` are the only readers of the environment.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from gateway.settings.checks import Checks, PlanList
from gateway.settings.default import embedded
from gateway.settings.document import MAX_BYTES, Document, Mark, parse
from gateway.settings.expand import Expander
from gateway.settings.faults import ConfigError, Fault, Finding
from gateway.settings.kinds import base_url_of, kind_of, options_of
from gateway.settings.model import Plan, PluginUse, Provider, Settings
from gateway.settings.redact import redact
from gateway.settings.schema import plans_schema, settings_schema
from gateway.settings.values import Values
from gateway.settings.view import as_dict, as_list, text_of


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """Settings and how they came about.

    ``files`` are all files they depend on. ``master_key_variable`` is the environment variable that gave the master
    key, where one did.
    """

    settings: Settings
    warnings: tuple[Fault, ...] = ()
    files: tuple[Path, ...] = ()
    master_key_variable: str | None = None


PluginCheck: TypeAlias = "Callable[[tuple[PluginUse | None, ...], Path, str | None], Iterable[Finding]]"


def load(path: str | Path | None, env: Mapping[str, str]) -> Settings:
    """The settings of a file, or the embedded defaults for None.

    Plans given as a file are in ``plans``; ``data_dir``, ``ca_file`` and the paths of plugins, models and weights are
    absolute.
    Raises :class:`ConfigError` with every fault of the file and of the plans' file.
    """
    return read(path, env).settings


def read(path: str | Path | None, env: Mapping[str, str], check_plugins: PluginCheck | None = None) -> Loaded:
    """Like :func:`load`, with the warnings and the files beside the settings.

    ``check_plugins`` gets the plugins, None in the place of an entry that does not fit the schema, the directory their
    paths start at and ``redis_url``, and gives the faults of their own configuration as ``(path, message, hint)``.
    """
    if path is None:
        return Loaded(settings=_placed(embedded(), Path.cwd()))
    main = Path(path)
    expander = Expander(env, main.absolute().parent)
    values = _values(main, expander)
    settings = _convert(values, Settings)
    files = [main]
    plan_values = _plan_file(values, expander, files)
    plans = _convert(plan_values, tuple[Plan, ...]) if plan_values is not None else None
    if check_plugins is not None:
        _check_plugins(values, expander.base, check_plugins)
    checks = Checks(values.document, values.data, expander.base, _plan_list(values, plan_values))
    checks.run()
    faults = [*values.document.faults, *(plan_values.document.faults if plan_values is not None else ())]
    if faults or settings is None:
        raise ConfigError(redact([*faults, *checks.warnings], values.data, expander.values))
    if plans is not None:
        settings = msgspec.structs.replace(settings, plans=plans)
    return Loaded(
        settings=_placed(settings, expander.base),
        warnings=tuple(redact(checks.warnings, values.data, expander.values)),
        files=(*files, *expander.files, *_plugin_files(settings, expander.base)),
        master_key_variable=values.variables.get(("master_key",)),
    )


def _values(path: Path, expander: Expander) -> Values:
    return Values(_parse(path), expander)


def _parse(path: Path) -> Document:
    try:
        # Not opened before it is known to be a file: opening a pipe would wait for a writer.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(0, "it is not a regular file")
        with path.open("rb") as handle:
            return parse(handle.read(MAX_BYTES + 1), str(path))
    except (OSError, ValueError) as error:
        document = Document(str(path))
        document.fault(
            Mark(1, 1), (), f"cannot read the file: {getattr(error, 'strerror', None) or 'not a usable path'}"
        )
        return document


def _convert(values: Values, kind: Any) -> Any:
    """The typed settings; None with the faults in the document where the values do not fit."""
    document = values.document
    if document.root is None and document.faults:
        return None
    # An empty file is an empty mapping, and an empty list of plans.
    if values.data is None:
        values.data = {} if kind is Settings else []
    if "" not in values.sole.values():
        with contextlib.suppress(msgspec.ValidationError):
            return msgspec.convert(values.data, kind)
    schema = settings_schema() if kind is Settings else plans_schema()
    values.fit(schema)
    try:
        return msgspec.convert(values.data, kind)
    except msgspec.ValidationError as error:
        failure = error
    # The schema's validator takes longer to import than everything else together, so only a faulty file waits for it.
    from gateway.settings.explain import explain  # noqa: PLC0415

    explain(document, values.data, schema)
    if not document.faults:
        # Only numbers beyond 64 bits get here: the message names types and a place, never a value.
        document.fault(Mark(1, 1), (), f"not valid: {failure}")
    return None


def _plan_file(values: Values, expander: Expander, files: list[Path]) -> Values | None:
    """The values of the file that ``plans`` names; None where it names none, or none that exists."""
    name = as_dict(values.data).get("plans")
    if not isinstance(name, str) or not name or ("plans",) in values.document.faulty:
        return None
    path = expander.base / name
    files.append(path)
    if not os.path.isfile(path):
        mark = values.document.locate(("plans",))
        values.document.fault(mark, ("plans",), f"there is no file {path}", "a path is relative to this file")
        return None
    return _values(path, expander)


def _plan_list(values: Values, plan_values: Values | None) -> PlanList | None:
    """Where the plans are; None where they cannot be known, so that no reference to one is called unknown."""
    if plan_values is not None:
        unreadable = plan_values.document.root is None and plan_values.document.faults
        return None if unreadable else PlanList(plan_values.document, plan_values.data, ())
    plans = as_dict(values.data).get("plans", [])
    return PlanList(values.document, plans, ("plans",)) if isinstance(plans, list) else None


def _check_plugins(values: Values, base: Path, check: PluginCheck) -> None:
    """Have the plugins checked whose entries are sound, even if others or other sections are not."""
    data = as_dict(values.data)
    uses = tuple(_plugin_use(item) for item in as_list(data.get("plugins")))
    for path, message, hint in check(uses, base, text_of(data, "redis_url") or None) if any(uses) else ():
        values.document.fault(values.document.locate(path, key=message == "unknown key"), path, message, hint)


def _plugin_use(item: object) -> PluginUse | None:
    try:
        return msgspec.convert(item, PluginUse)
    except msgspec.ValidationError:
        return None


def _plugin_files(settings: Settings, base: Path) -> Iterator[Path]:
    """The plugins' own files, without the class that may be named after a colon."""
    for use in settings.plugins:
        if use.path:
            file, _, class_name = use.path.rpartition(":")
            yield base / (file if file and class_name.isidentifier() else use.path)


def _placed(settings: Settings, base: Path) -> Settings:
    """The settings with every path made absolute against the directory of the file."""
    replace = msgspec.structs.replace
    weights = settings.routing.weights
    return replace(
        settings,
        data_dir=str(Path(os.path.normpath(base / settings.data_dir))),
        routing=replace(settings.routing, weights=str(base / weights)) if weights else settings.routing,
        providers=tuple(_placed_provider(item, base) for item in settings.providers),
        plugins=tuple(replace(item, path=str(base / item.path)) if item.path else item for item in settings.plugins),
    )


def _placed_provider(provider: Provider, base: Path) -> Provider:
    """A provider with what its kind says filled in, and its paths made absolute."""
    kind = kind_of(provider.kind)
    options = provider.options if kind is None else options_of(kind, provider.options)
    return msgspec.structs.replace(
        provider,
        base_url=provider.base_url or (None if kind is None else base_url_of(kind, options)),
        options=options,
        ca_file=str(base / provider.ca_file) if provider.ca_file else None,
        model=_placed_model(provider.model, base) if provider.model else None,
        models=tuple(_placed_model(name, base) for name in provider.models),
    )


def _placed_model(name: str, base: Path) -> str:
    """A path to a model's file made absolute; a known model's name as it is."""
    return str(base / os.path.expanduser(name)) if name.endswith(".gguf") else name
