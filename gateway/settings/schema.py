"""The JSON Schema of ``gateway.yaml``, generated from the structs of :mod:`gateway.settings.model`.

It is draft 2020-12 (https://json-schema.org/draft/2020-12), used to find every fault of a file at once, and published
as ``config/gateway.schema.json``, with placeholders allowed, so that editors complete the file.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gateway.settings.model import Plan, Settings

_SCALARS = ("boolean", "integer", "number", "string")
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def settings_schema() -> dict[str, Any]:
    """The schema of the whole file."""
    schema = msgspec.json.schema(Settings)
    root: dict[str, Any] = schema["$defs"].pop("Settings")
    root["title"] = "gateway.yaml"
    for definition in (root, *schema["$defs"].values()):
        definition["description"] = definition["description"].replace("``", "`")
        for name, place in definition["properties"].items():
            definition["properties"][name] = _described(place, schema["$defs"])
    return {"$schema": DIALECT, **root, "$defs": schema["$defs"]}


def plans_schema() -> dict[str, Any]:
    """The schema of a file that holds a list of plans."""
    return {"$schema": DIALECT, **msgspec.json.schema(tuple[Plan, ...])}


def published_schema() -> dict[str, Any]:
    """The schema for editors, which see placeholders where the gateway sees what they give."""
    schema = settings_schema()
    for definition in (schema, *schema["$defs"].values()):
        for place in definition["properties"].values():
            _allow_placeholder(place)
    schema["$defs"]["Placeholder"] = {
        "description": "A value from elsewhere: `${NAME}`, `${NAME:-default}` or `${file:PATH}`.",
        "type": "string",
        "pattern": r"\$\{[^}]+\}",
    }
    return schema


def schema_text() -> str:
    """The schema as it is published."""
    return json.dumps(published_schema(), indent=2) + "\n"


# What says of a place how it is shown rather than what fits it.
_SHOWN = ("description", "default")


def _allow_placeholder(place: dict[str, Any]) -> None:
    """Let every scalar at a place be a text with a placeholder too, also those of a list or a mapping there."""
    options = place.get("anyOf", [place])
    for option in options:
        for inner in (option.get("items"), option.get("additionalProperties")):
            if isinstance(inner, dict):
                _allow_placeholder(inner)
    if not any(option.get("type") in _SCALARS or "enum" in option for option in options):
        return
    if "anyOf" not in place:
        place["anyOf"] = [{name: place.pop(name) for name in list(place) if name not in _SHOWN}]
    place["anyOf"].append({"$ref": "#/$defs/Placeholder"})


def _described(place: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A property with a description: a reference without one shows nothing in an editor, so it takes its target's."""
    for option in (place, *place.get("anyOf", ())):
        if "description" not in place and "$ref" in option:
            return {"description": definitions[option["$ref"].rsplit("/", 1)[1]]["description"], **place}
    return place
