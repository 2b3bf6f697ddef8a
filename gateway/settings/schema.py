"""The JSON Schema of ``gateway.yaml``, generated from the structs of :mod:`gateway.settings.model`.

It is draft 2020-12 (https://json-schema.org/draft/2020-12), published as ``config/gateway.schema.json`` so that
editors complete the file, and used to find every fault of a file at once.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gateway.settings.model import Plan, Settings

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


def schema_text() -> str:
    """The schema as it is published."""
    return json.dumps(settings_schema(), indent=2) + "\n"


def _described(place: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A property with a description: a reference without one shows nothing in an editor, so it takes its target's."""
    for option in (place, *place.get("anyOf", ())):
        if "description" not in place and "$ref" in option:
            return {"description": definitions[option["$ref"].rsplit("/", 1)[1]]["description"], **place}
    return place
