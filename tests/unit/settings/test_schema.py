from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from gateway.settings.document import Node, parse, resolve
from gateway.settings.schema import plans_schema, published_schema, schema_text, settings_schema

REPOSITORY = Path(__file__).parents[3]
SECTIONS = {
    "Top level": "Settings",
    "server": "Server",
    "providers": "Provider",
    "providers[].timeouts": "Timeouts",
    "providers[].retry": "Retry",
    "providers[].breaker": "Breaker",
    "providers[].connections": "Connections",
    "providers[].concurrency": "Concurrency",
    "providers[].llama_cpp": "LlamaCpp",
    "models": "Model",
    "models[].targets": "Target",
    "models[].split": "Split",
    "models[].shadow": "Shadow",
    "models[].hedge": "Hedge",
    "models[].routing": "ModelRouting",
    "pricing": "Price",
    "pricing[].tiers": "PriceTier",
    "exchange_rates": "ExchangeRate",
    "plans": "Plan",
    "plans[].limits, keys[].limits": "Limit",
    "keys": "Key",
    "keys[].budget": "Budget",
    "limits": "SharedLimit",
    "sidecar": "Sidecar",
    "usage": "Usage",
    "responses": "Responses",
    "batches": "Batches",
    "routing": "Routing",
    "routing.auto": "Auto",
    "jwt": "Jwt",
    "oidc": "Oidc",
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


def written(node: Node | None) -> Any:
    """The values as an editor sees them: placeholders are texts."""
    if node is None:
        return None
    if isinstance(node.value, dict):
        return {name: written(item) for name, item in node.value.items()}
    if isinstance(node.value, list):
        return [written(item) for item in node.value]
    return resolve(node.value) if node.plain else node.value


def examples() -> list[str]:
    """The examples of the documentation that are a part of ``gateway.yaml``."""
    texts = [path.read_text("utf-8") for path in sorted((REPOSITORY / "docs").glob("*.md"))]
    blocks = [block for text in texts for block in re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)]
    sections = tuple(f"{name}:" for name in settings_schema()["properties"])
    return [block for block in blocks if any(line.startswith(sections) for line in block.splitlines())]


@pytest.mark.parametrize(
    "text",
    [
        *examples(),
        "server: {port: ${PORT:-8080}}",
        "master_key: ${GATEWAY_MASTER_KEY:-}",
        "keys: [{key: ${K}, name: k, limits: [{metric: ${M}, limit: ${N}, window: ${W}}], models: ['${A}']}]",
        "plans: ${PLANS}",
        "plans: [{name: p, features: ['${F}'], price: ${P}}]",
        "providers: [{name: p, kind: ${KIND}, base_url: ${URL}, headers: {a: ${H}}, verify_tls: ${TLS}}]",
    ],
)
def test_the_published_schema_takes_what_is_documented(text: str) -> None:
    document = parse(text.encode(), "gateway.yaml")
    assert not document.faults
    Draft202012Validator(published_schema()).validate(written(document.root))


def test_the_published_schema_still_finds_faults() -> None:
    schema = published_schema()
    Draft202012Validator.check_schema(schema)
    wrong = [
        "server: {port: x}",
        "server: ${S}",
        "providers: ['${P}']",
        "keys: [{key: K, name: k}]",
        "plans: 3",
        "x: ${A}",
    ]
    for text in wrong:
        document = parse(text.encode(), "gateway.yaml")
        assert not Draft202012Validator(schema).is_valid(written(document.root)), text


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
