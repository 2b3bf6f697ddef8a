from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.settings.default import embedded
from gateway.settings.faults import ConfigError
from gateway.settings.load import load, read
from gateway.settings.model import Limit, Plan
from tests.unit.settings.conftest import Faults, Read

REPOSITORY = Path(__file__).parents[3]
MODEL = "models: [{name: m, targets: [{provider: p, model: x}]}]\n"
PROVIDER = "providers: [{name: p, base_url: 'http://localhost/v1'}]\n"


def test_an_empty_file_gives_the_defaults_and_a_warning(read_text: Read) -> None:
    loaded = read_text("")
    assert loaded.settings.server.port == 8080
    assert [warning.severity for warning in loaded.warnings] == ["warning"]
    assert "no models" in loaded.warnings[0].message


def test_without_a_file_the_embedded_defaults_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(None, {})
    assert [model.name for model in settings.models] == ["smollm2-135m-instruct", "small"]
    assert settings.providers[0].kind == "llama_cpp"
    assert settings.data_dir == str(tmp_path / "data")


def test_the_shipped_file_is_sound_and_equals_the_embedded_defaults() -> None:
    loaded = read(REPOSITORY / "gateway.yaml", {})
    assert loaded.warnings == ()
    expected = msgspec.structs.replace(embedded(), data_dir=str(REPOSITORY / "data"), plans=loaded.settings.plans)
    assert loaded.settings == expected
    plans = {plan.name for plan in loaded.settings.plans if isinstance(plan, Plan)}
    assert {"free", "pro", "developer", "team", "professional", "enterprise", "trial", "starter"} <= plans


def test_plans_are_read_from_a_file_relative_to_the_configuration(tmp_path: Path, read_text: Read) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "plans.yaml").write_text(
        "- {name: a, limits: [{metric: requests, window: ${WINDOW}, limit: 3}]}"
    )
    loaded = read_text("plans: sub/plans.yaml\nkeys: [{key: gw_live_1234, name: k, plan: a}]", {"WINDOW": "minute"})
    assert loaded.settings.plans == (Plan(name="a", limits=(Limit(metric="requests", window="minute", limit=3),)),)
    assert loaded.files == (tmp_path / "gateway.yaml", tmp_path / "sub" / "plans.yaml")


def test_faults_of_both_files_are_reported_together(tmp_path: Path, faults_of: Faults) -> None:
    (tmp_path / "plans.yaml").write_text("- name: a\n- {name: a, prize: 1}\n")
    faults = faults_of("plans: plans.yaml\nserver: {port: x}\nkeys: [{key: gw_live_1234, name: k, plan: b}]")
    assert set(faults) == {"[1].name", "[1].prize", "server.port", "keys[0].plan"}
    assert faults["[1].prize"].file == str(tmp_path / "plans.yaml")
    assert faults["[1].prize"].hint == 'did you mean "price"?'
    assert (faults["[1].name"].line, faults["[1].name"].column) == (2, 10)


def test_a_missing_plans_file_is_one_fault(faults_of: Faults) -> None:
    faults = faults_of("plans: nowhere.yaml\nkeys: [{key: gw_live_1234, name: k, plan: b}]")
    assert set(faults) == {"plans"}


def test_an_unreadable_plans_file_does_not_make_its_plans_unknown(tmp_path: Path, faults_of: Faults) -> None:
    (tmp_path / "plans.yaml").write_text("[")
    faults = faults_of("plans: plans.yaml\nkeys: [{key: gw_live_1234, name: k, plan: b}]")
    assert [fault.file for fault in faults.values()] == [str(tmp_path / "plans.yaml")]


def test_paths_are_relative_to_the_file(tmp_path: Path, read_text: Read) -> None:
    (tmp_path / "ca.pem").write_text("")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "tiny.gguf").write_text("")
    settings = read_text(
        "data_dir: ../state\n"
        "providers:\n"
        "- {name: p, base_url: 'https://h/v1', ca_file: ca.pem}\n"
        "- {name: l, kind: llama_cpp, models: [m/tiny.gguf, smollm2-135m-instruct]}\n"
        "models: [{name: m, targets: [{provider: l, model: tiny}, {provider: p, model: x}]}]\n"
        "plugins: [{name: mine, path: 'mine.py:Mine'}]\n"
    ).settings
    assert settings.data_dir == str(tmp_path.parent / "state")
    assert settings.providers[0].ca_file == str(tmp_path / "ca.pem")
    assert settings.providers[1].models == (str(tmp_path / "m/tiny.gguf"), "smollm2-135m-instruct")
    assert settings.plugins[0].path == str(tmp_path / "mine.py:Mine")


def test_placeholders_become_what_the_schema_wants(read_text: Read) -> None:
    env = {"PORT": "81", "TLS": "false", "KEY": "12345678", "DRAIN": "2.5", "EMPTY": "", "WEIGHT": "2"}
    settings = read_text(
        "server: {port: ${PORT}, workers: ${WORKERS:-1}, drain: ${DRAIN}}\n"
        "master_key: ${KEY}\n"
        "providers: [{name: p, base_url: 'http://${HOST:-localhost}/v1', api_key: ${EMPTY}, verify_tls: ${TLS}}]\n"
        "models: [{name: m, targets: [{provider: p, model: ${PORT}, weight: ${WEIGHT}}]}]\n",
        env,
    ).settings
    assert settings.server.port == 81
    assert settings.server.drain == 2.5
    assert settings.master_key == "12345678"
    assert settings.providers[0].base_url == "http://localhost/v1"
    assert settings.providers[0].api_key is None
    assert settings.providers[0].verify_tls is False
    assert settings.models[0].targets[0].model == "81"
    assert settings.models[0].targets[0].weight == 2.0


def test_a_placeholder_is_no_number_where_only_a_part_is_one(faults_of: Faults) -> None:
    assert "server.port" in faults_of("server: {port: 8${PORT}}", {"PORT": "1"})
    assert "server.port" in faults_of("server: {port: ${PORT}}", {"PORT": "true"})


def test_the_variable_of_the_master_key_is_known(read_text: Read) -> None:
    assert read_text("master_key: ${KEY}", {"KEY": "12345678"}).master_key_variable == "KEY"
    assert read_text("master_key: '12345678'").master_key_variable is None


def test_files_of_placeholders_are_among_the_files(tmp_path: Path, read_text: Read) -> None:
    (tmp_path / "key").write_text("s3cret-s3cret\n")
    loaded = read_text("master_key: ${file:key}")
    assert loaded.settings.master_key == "s3cret-s3cret"
    assert tmp_path / "key" in loaded.files


def test_files_of_plugins_are_among_the_files(tmp_path: Path, read_text: Read) -> None:
    loaded = read_text("plugins: [{name: a, path: a.py}, {name: b, path: 'sub/b.py:B'}, {name: noop}]")
    assert loaded.files == (tmp_path / "gateway.yaml", tmp_path / "a.py", tmp_path / "sub" / "b.py")


def test_yaml_is_read_as_editors_do(read_text: Read) -> None:
    settings = read_text(
        "providers:\n"
        "- {name: no, base_url: 'http://a/v1', timeouts: &t {connect: 0o17, stall: 1e1}}\n"
        "- {name: on, base_url: 'http://a/v1', timeouts: {<<: *t, connect: 0x10}}\n"
        "- {name: 2024-01-01, base_url: 'http://a/v1', retry: {backoff: .5}, timeouts: *t}\n"
    ).settings
    assert [provider.name for provider in settings.providers] == ["no", "on", "2024-01-01"]
    assert [provider.timeouts.connect for provider in settings.providers] == [15, 16, 15]
    assert settings.providers[1].timeouts.stall == 10


def test_settings_cannot_be_changed(read_text: Read) -> None:
    settings = read_text(PROVIDER + MODEL).settings
    with pytest.raises(AttributeError):
        settings.server.port = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", ["nowhere.yaml", "nul\0byte.yaml", "."])
def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(str(tmp_path / name), {})
    assert "cannot read the file" in str(caught.value)


def test_a_budget_without_a_price_is_warned_of(read_text: Read) -> None:
    keys = "keys: [{key: gw_live_1234, name: k, budget: {amount: 1}}]\n"
    price = "pricing: [{provider: p, model: x, input_per_1k: 1, output_per_1k: 1}]\n"
    warnings = read_text(PROVIDER + MODEL + keys).warnings
    assert [(warning.path, warning.severity) for warning in warnings] == [("keys[0].budget", "warning")]
    assert warnings[0].hint == "such requests are refused with 403 where the sidecar knows none either"
    assert read_text(PROVIDER + MODEL + keys + price).warnings == ()


def test_what_the_gateway_adds_itself_is_warned_of(read_text: Read) -> None:
    provider = "providers: [{name: p, base_url: 'http://a/v1/chat/completions', api_key: Bearer hush-hush}]\n"
    warnings = {warning.path: warning for warning in read_text(provider + MODEL).warnings}
    assert set(warnings) == {"providers[0].base_url", "providers[0].api_key"}
    assert "hush" not in str(warnings["providers[0].api_key"])


def test_a_price_that_no_target_uses_is_warned_of(read_text: Read) -> None:
    price = "pricing: [{provider: p, model: y, input_per_1k: 1, output_per_1k: 1}]\n"
    assert [warning.path for warning in read_text(PROVIDER + MODEL + price).warnings] == ["pricing[0]"]


def test_stores_and_an_administrator_are_served(read_text: Read) -> None:
    text = "redis_url: redis://h\ndatabase_url: sqlite:///x.db\nadmin: {email: a@b, password: hush-hush}\n"
    loaded = read_text(PROVIDER + MODEL + text)
    assert loaded.settings.redis_url == "redis://h"
    assert loaded.settings.admin is not None
    assert loaded.warnings == ()


def test_limits_over_several_workers_need_redis(read_text: Read) -> None:
    text = PROVIDER + MODEL + "server: {workers: 2}\n"
    assert [warning.path for warning in read_text(text).warnings] == ["server.workers"]
    limited = text + "redis_url: redis://h\nkeys: [{key: gw_live_1, name: a, budget: {amount: 1}}]\n"
    limited += "pricing: [{provider: p, model: x, input_per_1k: 1, output_per_1k: 1}]\n"
    assert read_text(limited).warnings == ()
    multiple = "server: {workers: 2, limits_per_worker: true}\nlimits: [{metric: concurrency, limit: 9}]\n"
    assert read_text(PROVIDER + MODEL + multiple).warnings == ()


@pytest.mark.parametrize(
    ("sidecar", "warned"),
    [
        ("listen: '127.0.0.1:9090'", []),
        ("listen: 'localhost:9090'", []),
        ("listen: '[::1]:9090'", []),
        ("listen: '0.0.0.0:9090'", ["sidecar.listen"]),
        ("listen: '[::]:9090'", ["sidecar.listen"]),
        ("url: 'http://127.0.0.1:9090'", []),
        ("url: 'https://sidecar.example'", []),
        ("url: 'unix:/run/sidecar.sock'", []),
        ("url: 'http://sidecar.example:9090'", ["sidecar.url"]),
    ],
)
def test_an_unencrypted_way_to_the_sidecar_is_warned_of(read_text: Read, sidecar: str, warned: list[str]) -> None:
    loaded = read_text(PROVIDER + MODEL + f"sidecar: {{{sidecar}}}\n")
    assert [warning.path for warning in loaded.warnings] == warned
    assert all("not encrypted" in warning.message for warning in loaded.warnings)
