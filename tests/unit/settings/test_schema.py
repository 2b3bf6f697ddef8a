from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from gateway.settings.schema import plans_schema, schema_text, settings_schema

REPOSITORY = Path(__file__).parents[3]
SECTIONS = {
    "Top level": "Settings",
    "server": "Server",
    "providers": "Provider",
    "providers[].timeouts": "Timeouts",
    "providers[].retry": "Retry",
    "providers[].breaker": "Breaker",
    "providers[].connections": "Connections",
    "providers[].llama_cpp": "LlamaCpp",
    "models": "Model",
    "models[].targets": "Target",
    "pricing": "Price",
    "plans": "Plan",
    "plans[].limits, keys[].limits": "Limit",
    "keys": "Key",
    "keys[].budget": "Budget",
    "plugins": "PluginUse",
    "telemetry": "Telemetry",
    "admin": "Admin",
}


def definitions() -> dict[str, dict[str, Any]]:
    schema = settings_schema()
    return {"Settings": schema, **schema["$defs"]}


def test_the_published_schema_is_current() -> None:
    published = (REPOSITORY / "config" / "gateway.schema.json").read_text("utf-8")
    assert published == schema_text(), "run: gateway schema --write config/gateway.schema.json"


def test_the_schema_is_valid_and_the_shipped_files_fit_it() -> None:
    Draft202012Validator.check_schema(settings_schema())
    Draft202012Validator.check_schema(plans_schema())
    Draft202012Validator(settings_schema()).validate(yaml.safe_load((REPOSITORY / "gateway.yaml").read_text()))
    Draft202012Validator(plans_schema()).validate(yaml.safe_load((REPOSITORY / "config/plans.yaml").read_text()))


def test_every_key_has_a_description() -> None:
    for name, definition in definitions().items():
        assert definition["description"], name
        for key, place in definition["properties"].items():
            assert place.get("description"), f"{name}.{key}"


def test_the_shipped_file_names_its_schema() -> None:
    first = (REPOSITORY / "gateway.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=config/gateway.schema.json"


def test_every_struct_has_a_section() -> None:
    assert set(SECTIONS.values()) == set(definitions())


@pytest.mark.parametrize(("heading", "struct"), SECTIONS.items())
def test_every_key_is_documented_with_its_default(heading: str, struct: str) -> None:
    text = (REPOSITORY / "docs" / "configuration.md").read_text("utf-8")
    found = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##+ |\Z)", text, re.M | re.S)
    assert found is not None, f"docs/configuration.md has no section {heading}"
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", found.group(1), re.M))
    definition = definitions()[struct]
    assert list(rows) == list(definition["properties"])
    for key, place in definition["properties"].items():
        _, absent, meaning = (
            (cell.strip() for cell in rows[key].split(" | "))
            if rows[key].count(" | ") == 2
            else (
                "",
                "",
                rows[key],
            )
        )
        assert place["description"].replace("``", "`") == meaning
        default = place.get("default")
        if key in definition.get("required", []):
            assert absent == "required", key
        elif isinstance(default, str | int | float):
            assert absent == f"`{json.dumps(default).strip(chr(34))}`", key
