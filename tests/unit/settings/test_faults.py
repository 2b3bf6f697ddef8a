"""Each fault, where it is said to be, and what is said to be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings.faults import ConfigError, dotted, named, nearest, shown
from tests.unit.settings.conftest import Faults, Read

PROVIDER = "providers: [{name: p, base_url: 'http://a/v1'}]\n"
# text, path, line, column, part of the message, part of the hint
CASES = [
    ("servr: {}", "servr", 1, 1, "unknown key", '"server"'),
    ("server:\n  prt: 1", "server.prt", 2, 3, "unknown key", '"port"'),
    ("server: {zzz: 1}", "server.zzz", 1, 10, "unknown key", "host, port"),
    ("server: {port: abc}", "server.port", 1, 16, "expected a whole number, got a text", None),
    ("server: {port: 1.5}", "server.port", 1, 16, "expected a whole number", None),
    ("server: {port: true}", "server.port", 1, 16, "got true or false", None),
    ("server: {port: 99999}", "server.port", 1, 16, "at most 65535", None),
    ("server: {port: -1}", "server.port", 1, 16, "at least 0", None),
    ("server: {workers: 100000}", "server.workers", 1, 19, "at most 256", None),
    ("server: {workers: 1" + "0" * 30 + "}", "server.workers", 1, 19, "at most 256", None),
    ("server: {max_body_bytes: 1" + "0" * 30 + "}", "server.max_body_bytes", 1, 26, "at most", None),
    ("server: {drain: .inf}", "server.drain", 1, 17, "expected a number", None),
    ("server: {drain: 0}", "server.drain", 1, 17, "more than 0", None),
    ("server: {host: 1}", "server.host", 1, 16, "quote it", None),
    ("server: {host: 'a b'}", "server.host", 1, 16, "expected a host name", None),
    ("server: []", "server", 1, 9, "expected a mapping, got a list", None),
    ("server:", "server", 1, 8, "expected a mapping, got nothing", None),
    ("- 1", "", 1, 1, "expected a mapping, got a list", None),
    ("text", "", 1, 1, "expected a mapping, got a text", None),
    ("providers: {}", "providers", 1, 12, "expected a list", None),
    ("providers: [x]", "providers[0]", 1, 13, "expected a mapping", None),
    ("providers: [{name: p}]", "providers[0]", 1, 13, "needs a base_url", "https://"),
    ("providers: [{base_url: 'http://a'}]", "providers[0].name", 1, 13, "required", None),
    ("providers: [{name: p, kind: llamacpp}]", "providers[0].kind", 1, 29, "one of llama_cpp, openai", '"llama_cpp"'),
    ("providers: [{name: p, base_url: ftp://x}]", "providers[0].base_url", 1, 33, "http:// or https://", None),
    ("providers: [{name: 'a b', base_url: 'http://a'}]", "providers[0].name", 1, 20, "without spaces", None),
    ("providers: [{name: p, kind: llama_cpp}]", "providers[0]", 1, 13, "needs a model", None),
    ("providers: [{name: p, kind: llama_cpp, model: m, api_key: k}]", "providers[0].api_key", 1, 59, "no such", None),
    (
        "providers: [{name: p, base_url: 'http://a', llama_cpp: {}}]",
        "providers[0].llama_cpp",
        1,
        56,
        "only a provider of kind llama_cpp",
        None,
    ),
    (
        "providers:\n- {name: p, base_url: 'http://a'}\n- {name: p, base_url: 'http://b'}",
        "providers[1].name",
        3,
        10,
        'already a provider named "p"',
        "providers[0]",
    ),
    (
        "providers: [{name: p, base_url: 'http://a', headers: {'a b': x}}]",
        "providers[0].headers.a b",
        1,
        62,
        "name of an HTTP header",
        None,
    ),
    (
        'providers: [{name: p, base_url: "http://a", headers: {a: "x\\r\\nb: c"}}]',
        "providers[0].headers.a",
        1,
        58,
        "printable",
        None,
    ),
    (
        "providers: [{name: p, base_url: 'http://a', ca_file: none.pem}]",
        "providers[0].ca_file",
        1,
        54,
        "there is no file",
        "relative",
    ),
    (
        PROVIDER + "models: [{name: m, targets: [{provider: q, model: x}]}]",
        "models[0].targets[0].provider",
        2,
        41,
        'no provider "q"',
        "known: p",
    ),
    ("models: [{name: m, targets: []}]", "models[0].targets", 1, 29, "at least 1 entry", None),
    ("models: [{name: m}]", "models[0].targets", 1, 10, "required, and not given", None),
    (
        PROVIDER + "models: [{name: mod, targets: [{provider: p, model: x}], fallbacks: [nod]}]",
        "models[0].fallbacks[0]",
        2,
        70,
        'no model "nod"',
        '"mod"',
    ),
    (
        PROVIDER + "models: [{name: m, strategy: ml, targets: [{provider: p, model: x}]}]",
        "models[0].strategy",
        2,
        30,
        "does not support the strategy ml yet",
        "priority",
    ),
    (
        PROVIDER + "models: [{name: m, strategy: weighted, targets: [{provider: p, model: x, weight: 0}]}]",
        "models[0].targets",
        2,
        49,
        "weight above 0",
        None,
    ),
    (
        "providers: [{name: l, kind: llama_cpp, model: smollm2-135m-instruct}]\n"
        "models: [{name: m, targets: [{provider: l, model: smollm2-135m}]}]",
        "models[0].targets[0].model",
        2,
        51,
        'provider l has no model "smollm2-135m"',
        '"smollm2-135m-instruct"',
    ),
    (
        "providers: [{name: l, kind: llama_cpp, model: mistral-7b}]",
        "providers[0].model",
        1,
        47,
        'there is no local model "mistral-7b"',
        "known: smollm2-135m-instruct; or a path ending in .gguf",
    ),
    (
        "providers: [{name: l, kind: llama_cpp, models: [smollm2-135m-instruct, smollm2-135m]}]",
        "providers[0].models[1]",
        1,
        72,
        'there is no local model "smollm2-135m"',
        '"smollm2-135m-instruct"',
    ),
    (
        "providers: [{name: l, kind: llama_cpp, model: sub/nothere.gguf}]",
        "providers[0].model",
        1,
        47,
        "/sub/nothere.gguf",
        "a path is relative to this file",
    ),
    (
        "providers: [{name: l, kind: llama_cpp, model: nothere.gguf}]\n"
        "models: [{name: m, targets: [{provider: l, model: nothere.gguf}]}]",
        "models[0].targets[0].model",
        2,
        51,
        'provider l has no model "nothere.gguf"',
        'did you mean "nothere"?',
    ),
    (f"providers: [{{name: l, kind: llama_cpp, model: {'x' * 300}.gguf}}]", "providers[0].model", 1, 47, "200", None),
    (f"providers: [{{name: p, base_url: 'http://a', ca_file: {'x' * 300}}}]", "providers[0].ca_file", 1, 54, "", None),
    (
        PROVIDER + "models: [{name: m, targets: [{provider: p, model: x}], fallbacks: [claude-3-5-haiku-20241022]}]",
        "models[0].fallbacks[0]",
        2,
        68,
        'no model "claude-3-5-haiku-20241022"',
        "known: m",
    ),
    (
        PROVIDER
        + "models:\n"
        + "- {name: a, targets: [{provider: p, model: x}], fallbacks: [b]}\n"
        + "- {name: b, targets: [{provider: p, model: x}], fallbacks: [c]}\n"
        + "- {name: c, targets: [{provider: p, model: x}], fallbacks: [b]}\n",
        "models[1].fallbacks",
        4,
        60,
        "b → c → b",
        None,
    ),
    (
        "keys: [{key: gw_live_1, name: a, limits: [{metric: tokens, limit: 1}]}]",
        "keys[0].limits[0]",
        1,
        43,
        "tokens needs a window",
        "minute",
    ),
    (
        "keys: [{key: gw_live_1, name: a, limits: [{metric: concurrency, window: day, limit: 1}]}]",
        "keys[0].limits[0].window",
        1,
        73,
        "takes no window",
        "remove",
    ),
    (
        "keys: [{key: gw_live_1, name: a, limits: [{metric: tokens, window: 0s, limit: 1}]}]",
        "keys[0].limits[0].window",
        1,
        68,
        "expected a window such as 10s",
        None,
    ),
    ("providers: [{name: p, kind: anthropic}]", "providers[0].kind", 1, 29, "one of", "is kind openai"),
    ("keys: [{key: gw_live_1, name: a, budget: 10}]", "keys[0].budget", 1, 42, "a mapping", "{amount: 10, period"),
    ("keys: [{key: gw_live_1, name: a, plan: pro}]", "keys[0].plan", 1, 40, 'no plan "pro"', None),
    ("keys: [{key: gw_live_1, name: a, models: [x]}]", "keys[0].models[0]", 1, 43, 'no model "x"', None),
    (
        "keys: [{key: gw_live_1, name: a}, {key: gw_live_1, name: b}]",
        "keys[1].key",
        1,
        41,
        "used for another credential",
        None,
    ),
    (
        "master_key: gw_live_1\nkeys: [{key: gw_live_1, name: a}]",
        "keys[0].key",
        2,
        14,
        "used for another credential",
        None,
    ),
    (
        "pricing: [{provider: p, model: x, input_per_1k: 1, output_per_1k: 1}]",
        "pricing[0].provider",
        1,
        22,
        'no provider "p"',
        None,
    ),
    (
        PROVIDER
        + "pricing:\n"
        + "- {provider: p, model: x, input_per_1k: 1, output_per_1k: 1}\n"
        + "- {provider: p, model: x, input_per_1k: 2, output_per_1k: 2}\n",
        "pricing[1]",
        4,
        3,
        "priced twice",
        None,
    ),
    (
        "exchange_rates: [{currency: EUR, day: 2026-02-30, dollars: 1.1}]",
        "exchange_rates[0].day",
        1,
        39,
        "no such day",
        None,
    ),
    (
        "exchange_rates:\n"
        + "- {currency: EUR, day: 2026-02-28, dollars: 1}\n"
        + "- {currency: EUR, day: 2026-02-28, dollars: 2}\n",
        "exchange_rates[1]",
        3,
        3,
        "two rates for one day",
        None,
    ),
    (
        "server: {workers: 2}\nkeys: [{key: gw_live_1, name: a, budget: {amount: 1}}]",
        "server.workers",
        1,
        19,
        "each worker's memory",
        "1 worker",
    ),
    (
        "server: {workers: 2}\nplans: [{name: p, limits: [{metric: concurrency, limit: 1}]}]\n"
        "keys: [{key: gw_live_1, name: a, plan: p}]",
        "server.workers",
        1,
        19,
        "each worker's memory",
        "1 worker",
    ),
    ("server: {workers: 2}\nlimits: [{metric: concurrency, limit: 9}]", "server.workers", 1, 19, "multiple", "redis"),
    ("limits: [{metric: requests, limit: 9}]", "limits[0]", 1, 10, "needs a window", "minute"),
    (
        PROVIDER + "limits: [{metric: concurrency, limit: 9, provider: n}]",
        "limits[0].provider",
        2,
        52,
        'there is no provider "n"',
        "known: p",
    ),
    ("redis_url: http://h", "redis_url", 1, 12, "expected a redis:// or rediss:// URL", None),
    ("database_url: mysql://h/d", "database_url", 1, 15, "expected a postgresql:// URL", None),
    ("sidecar: {listen: '0.0.0.0:70000'}", "sidecar.listen", 1, 19, "a port from 0 to 65535", None),
    ("sidecar: {listen: '9090'}", "sidecar.listen", 1, 19, "expected host:port", None),
    ("sidecar: {url: 'tcp://h:1'}", "sidecar.url", 1, 16, "expected http://host:port, or unix:/path", None),
    ("plans: [{name: p}, {name: p}]", "plans[1].name", 1, 27, 'already a plan named "p"', None),
    ("plans: 3", "plans", 1, 8, "expected a text or a list", None),
    ("data_dir: \"a\\0b\"", "data_dir", 1, 11, "expected a path", None),
    ("master_key: ${NOPE}", "master_key", 1, 13, "variable NOPE is not set", "${NOPE:-"),
    ("master_key: ${", "master_key", 1, 13, "no closing brace", "$${"),
    ("server:\n  port: 1\n  port: 2", "server.port", 3, 3, "given twice", "line 2"),
    ("server: {port: *x}", "server.port", 1, 16, "no anchor", "quote"),
    ("server: {port: !x 1}", "server.port", 1, 16, "tags", "quote"),
    ("a: 1\n---\nb: 2", "", 2, 1, "one YAML document", None),
    ("a: [1", "", 1, 6, "not valid YAML", None),
    ("a: 'b", "", 1, 6, "not valid YAML", None),
    (b"a: \xff", "", 1, 1, "not UTF-8", None),
    (b"a: 1\nb: \x01", "", 2, 1, "control characters", None),
    ("? [a]\n: 1", "", 1, 3, "a key must be a plain name", None),
    ("<<: 1", "<<", 1, 1, "a merge takes", None),
    ("a: " + "[" * 40 + "]" * 40, "a" + "[0]" * 32, 1, 35, "nested deeper than 32", None),
]  # fmt: skip


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
