"""Each fault, where it is said to be, and what is said to be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings.faults import ConfigError, dotted, named, nearest, shown
from tests.unit.settings.conftest import Faults, Read
from tests.unit.settings.fault_cases import CASES, PROVIDER


@pytest.mark.parametrize(("text", "path", "line", "column", "message", "hint"), CASES)
def test_a_fault_tells_where_and_what(
    faults_of: Faults, text: str | bytes, path: str, line: int, column: int, message: str, hint: str | None
) -> None:
    faults = faults_of(text)
    assert path in faults, list(map(str, faults.values()))
    found = faults[path]
    assert message in found.message
    assert hint is None or hint in (found.hint or "")
    assert (found.line, found.column) == (line, column)


def test_all_faults_are_reported_in_the_order_of_the_file(read_text: Read) -> None:
    text = (
        "server: {prt: 1, port: abc}\n"
        "master_key: ${NOPE}\n"
        "providers: [{name: openai, base_url: 'http://a/v1'}]\n"
        "models:\n"
        "- {name: a, targets: [{provider: opnai, model: x}], fallbacks: [b]}\n"
        "- {name: b, fallbacks: [a], targets: []}\n"
    )
    with pytest.raises(ConfigError) as caught:
        read_text(text)
    assert [(fault.line, fault.path) for fault in caught.value.faults] == [
        (1, "server.prt"),
        (1, "server.port"),
        (2, "master_key"),
        (5, "models[0].targets[0].provider"),
        (5, "models[0].fallbacks"),
        (6, "models[1].targets"),
    ]


def test_an_error_hides_that_there_are_no_models(read_text: Read) -> None:
    with pytest.raises(ConfigError) as caught:
        read_text("servr: {}")
    assert [fault.path for fault in caught.value.faults] == ["servr"]


def test_a_plans_file_is_the_list_itself(faults_of: Faults, tmp_path: Path) -> None:
    (tmp_path / "plans.yaml").write_text("plans: [{name: a}]\n")
    fault = faults_of("plans: plans.yaml")[""]
    assert fault.file == str(tmp_path / "plans.yaml")
    assert fault.hint == "the file begins with the list itself, without a key plans:"


def test_an_alias_bomb_is_refused_without_being_built(faults_of: Faults) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert any("values" in fault.message for fault in faults_of("\n".join(lines)).values())


def test_a_file_beyond_all_bounds_is_refused(faults_of: Faults) -> None:
    assert "larger than" in faults_of(b"#" * (4 * 1024 * 1024 + 1))[""].message


@pytest.mark.parametrize(
    "text",
    [
        "master_key: SECRET-1234 SECRET\nserver: {port: x}",
        "master_key: SECRET",
        "keys: [SECRET_key_value]",
        "keys: [{key: 'SECRET 1', name: a}]",
        "keys: {gw_live_SECRET: 1}",
        "keys: [{key: gw_live_SECRET, name: a}, {key: gw_live_SECRET, name: b}]",
        "sk-SECRET1234: 1",
        "providers: [{name: p, base_url: 'http://a', api_key: [SECRET]}]",
        "providers: [{name: p, base_url: 'http://a', api_key: \"SECRET\\n\"}]",
        "providers: [{name: p, base_url: 'http://a', headers: {authorization: \"SECRET\\n\"}}]",
        "providers: [{name: p, base_url: 'http://a', headers: [SECRET]}]",
        "providers: [{name: p, base_url: 'ftp://user:SECRET@host'}]",
        "providers: [{name: 'https://user:SECRET@host', base_url: 3}]",
        "redis_url: redis://:SECRET@host\nserver: {prt: 1}",
        "redis_url: http://:SECRET@host",
        "database_url: mysql://u:SECRET@host/db",
        "admin: {email: SECRET, password: SECRET}",
        "admin: {email: a@b, password: *SECRET}",
        "admin: {email: a@b, password: !SECRET x}",
        "admin: {email: a@b, password: @SECRET}",
        "admin: {email: a@b, password: 'SECRET}",
        'admin: {email: a@b, password: "\\SECRET"}',
        "admin: {email: a@b, password: SECRET: x: y}",
        "admin: {email: a@b, password: ${SECRET-bad}}",
        "server: {port: ${VALUE}}",
        "server: {host: ${VALUE}, prt: 1}",
    ],
)
def test_no_secret_is_in_a_message(read_text: Read, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_text(text, {"VALUE": "SECRET value"})
    assert "SECRET" not in str(caught.value)
    assert "SECRET" not in repr(caught.value)


def test_words_are_shown_and_credentials_are_not() -> None:
    assert shown("gpt-4o-mini") == "gpt-4o-mini"
    assert shown("meta-llama/Llama-3.1-8B") == "meta-llama/Llama-3.1-8B"
    for text in ("gw_live_abc", "sk-abc", "x" * 65, "a\nb", "https://u:p@h", "AbCdEfGhIjKlMnOpQrStUvWxYz"):
        assert shown(text) == "…"


def test_names_are_shown_unless_they_are_secrets(faults_of: Faults) -> None:
    for text in (
        "claude-3-5-haiku-20241022",
        "accounts/a/models/llama-v3p1-405b-instruct-long",
        "app-1",
        "token-mixer",
    ):
        assert named(text) == text
    for text in ("gw_live_abc", "sk-abc", "x" * 201, "a\nb", "https://u:p@h"):
        assert named(text) == "…"
    pasted = "AbCdEfGhIjKlMnOpQrStUvWxYz"
    faults = faults_of(
        f"master_key: {pasted}\n{PROVIDER}models: [{{name: m, targets: [{{provider: {pasted}, model: x}}]}}]"
    )
    assert faults["models[0].targets[0].provider"].message == 'there is no provider "…"'


@pytest.mark.parametrize(
    ("text", "path", "extra"),
    [
        ("redis_url: redis://h", "redis_url", "[redis]"),
        ("database_url: postgresql://h/d", "database_url", "[postgres]"),
        ("database_url: postgresql+asyncpg://h/d", "database_url", "[postgres]"),
        ("telemetry: {traces: true}", "telemetry.traces", "[otel]"),
    ],
)
def test_what_is_not_installed_is_told(
    faults_of: Faults, monkeypatch: pytest.MonkeyPatch, text: str, path: str, extra: str
) -> None:
    monkeypatch.setattr("gateway.settings.checks.find_spec", lambda name: None)
    fault = faults_of(text)[path]
    assert "is not installed" in fault.message
    assert extra in (fault.hint or "")


def test_paths_are_dotted() -> None:
    assert dotted(("models", 0, "targets", 1, "provider")) == "models[0].targets[1].provider"
    assert dotted(()) == ""


def test_the_nearest_name_is_near() -> None:
    assert nearest("opnai", ["openai", "local"]) == 'did you mean "openai"?'
    assert nearest("zzz", ["openai", "local"]) is None
