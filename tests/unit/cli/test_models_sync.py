"""``gateway models sync``: what it keeps, what it tells, and what ``gateway models`` makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from tests.support.fake_vendors import KEY, FakeVendors
from tests.support.fake_vendors.lists import MISTRAL, ROUTER

Sync = Callable[..., Result]


@pytest.fixture(scope="module")
def vendors() -> Iterator[FakeVendors]:
    with FakeVendors() as running:
        assert isinstance(running, FakeVendors)
        yield running


@pytest.fixture
def lists(vendors: FakeVendors) -> FakeVendors:
    vendors.listed.update({"mistral": list(MISTRAL), "like": list(ROUTER)})
    return vendors


@pytest.fixture
def sync(lists: FakeVendors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sync:
    """Runs a command with three providers, of which one refuses the key."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gateway.yaml").write_text(f"""
server: {{port: 0}}
providers:
- {{name: mistral, kind: mistral, base_url: '{lists.root}/mistral/v1', api_key: {KEY}}}
- {{name: router, kind: openrouter, base_url: '{lists.root}/like', api_key: {KEY}}}
- {{name: locked, kind: openrouter, base_url: '{lists.root}/like', api_key: sk-not-the-right-key}}
models:
- {{name: good, targets: [{{provider: mistral, model: mistral-model}}, {{provider: locked, model: any}}]}}
- {{name: bad, targets: [{{provider: mistral, model: mistral-modle}}]}}
""")

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["models", *arguments])

    return call


def document(result: Result) -> dict[str, Any]:
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def test_the_first_lists(sync: Sync, tmp_path: Path) -> None:
    result = sync("sync")

    assert result.exit_code == 1, "one provider failed"
    lines = result.stdout.splitlines()
    assert lines[0].startswith("mistral: 4 models, from http://127.0.0.1:")
    assert lines[0].endswith("; the first list")
    assert lines[2] == "locked: answered with status 401"
    assert 'warning: model "bad": "mistral-modle" is not in the list of mistral' in result.stderr
    assert 'did you mean "mistral-model"?' in result.stderr
    assert result.stderr.count("warning") == 1
    kept = (tmp_path / "data" / "catalogue.json").read_text()
    assert KEY not in kept + result.output
    assert "sk-not" not in kept + result.output


def test_what_is_new_gone_and_changed(sync: Sync, lists: FakeVendors) -> None:
    sync("sync")
    lists.listed["like"] = [ROUTER[0] | {"context_length": 100_000, "pricing": {}}, {"id": "maker/new"}]
    result = sync("sync", "--provider", "router")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"router: 2 models, from {lists.root}/like; 1 new, 1 gone, 1 changed",
        "  + maker/new",
        "  - router/auto",
        "  ~ maker/model: context_length 200000 → 100000,"
        " prices completion=0.00001 image=0.003613 prompt=0.0000025 request=0 → none",
    ]


def test_as_json(sync: Sync, lists: FakeVendors, tmp_path: Path) -> None:
    sync("sync")
    lists.listed["mistral"] = MISTRAL[1:]
    told = document(sync("sync", "--json"))

    assert told["file"] == str(tmp_path / "data" / "catalogue.json")
    mistral, router, locked = told["providers"]
    assert mistral["status"] == "listed"
    assert (mistral["models"], mistral["first"]) == (2, False)
    assert mistral["gone"] == ["mistral-model", "mistral-model-latest"]
    assert (router["new"], router["gone"], router["changed"]) == ([], [], {})
    assert locked == {"name": "locked", "status": "failed", "reason": "answered with status 401"}
    assert [(each["model"], each["target"]) for each in told["absent"]] == [
        ("good", "mistral-model"),
        ("bad", "mistral-modle"),
    ]
    assert document(sync("--json", "sync"))["providers"][0]["gone"] == []


def test_a_provider_that_fails_keeps_its_list(sync: Sync, lists: FakeVendors) -> None:
    sync("sync")
    lists.listed["mistral"] = [{"id": None}] * 3
    assert sync("sync", "--provider", "mistral").exit_code == 0
    config = Path("gateway.yaml")
    config.write_text(config.read_text().replace(KEY, "sk-another"))
    result = sync("sync")

    assert "mistral: answered with status 401; the list of 20" in result.stdout
    assert "is kept" in result.stdout


def test_the_list_of_models_tells_what_is_not_listed(sync: Sync) -> None:
    assert "warning" not in sync().stderr
    assert "listed" not in sync("--json").stdout
    sync("sync")
    result = sync("--json")

    good, bad = document(result)["models"]
    assert [target.get("listed") for target in good["targets"]] == [True, None]
    assert bad["targets"][0]["listed"] is False
    assert '"mistral-modle" is not in the list of mistral' in result.stderr


def test_a_file_that_can_not_be_read_is_told_and_made_anew(sync: Sync) -> None:
    sync("sync")
    Path("data/catalogue.json").write_text("{")
    assert "gateway models sync makes it anew" in sync().stderr
    assert "the first list" in sync("sync", "--provider", "mistral").stdout
    assert "makes it anew" not in sync().stderr


def test_what_can_not_be_done(sync: Sync) -> None:
    unknown = sync("sync", "--provider", "mistrl")
    assert (unknown.exit_code, 'did you mean "mistral"?' in unknown.stderr) == (2, True)
    Path("data").write_text("a file")
    assert "can't be written to" in sync("sync").stderr
    assert sync("syncc").exit_code == 2
