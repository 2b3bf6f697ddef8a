"""The commands that do not serve: check, models, schema, and what is no command."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway import __version__
from gateway.cli.main import COMMANDS, cli
from gateway.settings.schema import schema_text

GOOD = """
server: {port: PORT}
master_key: master-key-1
providers: [{name: p, base_url: 'http://127.0.0.1:9/v1'}]
models:
- {name: 'a[b]', strategy: weighted, targets: [{provider: p, model: x, weight: 3}], fallbacks: [c]}
- {name: c, targets: [{provider: p, model: x}, {provider: p, model: y}]}
"""

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty directory, with a text as ``gateway.yaml`` if one is given."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, config: str | None = None) -> Result:
        if config is not None:
            (tmp_path / "gateway.yaml").write_text(config)
        return CliRunner().invoke(cli, arguments, env={"COLUMNS": "100"})

    return call


class Gateway(http.server.ThreadingHTTPServer):
    """A running gateway as far as ``gateway models`` sees it."""

    answer: tuple[int, Any] = (200, {"object": "list", "data": [{"id": "c"}, {"id": "other"}]})
    seen: str | None = None


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Gateway)
        if self.path == "/metrics":
            assert self.headers["Authorization"] is None
            self.send_error(404)
            return
        assert self.path == "/v1/models"
        self.server.seen = self.headers["Authorization"]
        status, body = self.server.answer
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    server = Gateway(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def config_for(server: Gateway) -> str:
    return GOOD.replace("PORT", str(server.server_port))


def test_every_command_is_in_the_table_and_explains_itself(run: Run) -> None:
    listed = run("--help")
    assert listed.exit_code == 0
    for name, (_, help_text) in COMMANDS.items():
        assert name in listed.output
        assert help_text in listed.output
        shown = run(name, "--help")
        assert shown.exit_code == 0
        assert "Usage:" in shown.output


def test_the_version(run: Run) -> None:
    assert __version__ in run("--version").output


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["chek"], 'No such command "chek"; did you mean "check"?'),
        (["zzz"], f"commands: {', '.join(COMMANDS)}"),
        (["serve", "--cnfig", "x"], "--config"),
        (["check", "extra"], "unexpected extra argument"),
    ],
)
def test_what_is_unknown_gets_a_hint(run: Run, arguments: list[str], hint: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert hint in result.output


def test_check_of_a_sound_file(run: Run) -> None:
    result = run("check", config=GOOD.replace("PORT", "8080"))
    assert result.exit_code == 0
    assert "gateway.yaml is usable." in result.output
    as_json = json.loads(run("check", "--json").output)
    assert as_json == {"file": "gateway.yaml", "ok": True, "faults": []}


def test_check_reports_every_fault(run: Run) -> None:
    text = (
        "server:\n  prt: 1\nmodels: [{name: a, targets: [{provider: q, model: '[red]x'}]}]\nmaster_key: [hush-hush]\n"
    )
    result = run("check", config=text)
    assert result.exit_code == 1
    assert 'gateway.yaml:2:3 error: server.prt: unknown key\n    did you mean "port"?' in result.output
    assert 'gateway.yaml:3:41 error: models[0].targets[0].provider: there is no provider "q"' in result.output
    assert "3 faults found." in result.output
    assert "hush" not in result.output
    faults = json.loads(run("check", "--json").output)
    assert not faults["ok"]
    assert faults["faults"][0] == {
        "file": "gateway.yaml",
        "line": 2,
        "column": 3,
        "path": "server.prt",
        "message": "unknown key",
        "hint": 'did you mean "port"?',
        "severity": "error",
    }


def test_check_reports_the_faults_of_plugins_beside_others(run: Run) -> None:
    result = run("check", config="servr: {}\nplugins: [{name: nop}, {name: noop, with: {x: 1}}]\n")
    assert result.exit_code == 1
    assert "gateway.yaml:1:1 error: servr: unknown key" in result.output
    assert 'gateway.yaml:2:18 error: plugins[0].name: no such plugin\n    did you mean "noop"?' in result.output
    assert "gateway.yaml:2:44 error: plugins[1].with.x: unknown key" in result.output


def test_one_faulty_plugin_entry_hides_no_fault_of_another(run: Run) -> None:
    config = (
        "plugins:\n- {name: noop, fial: open}\n- {name: nop}\n- {name: keyword_guard, fail: x}\n- 3\n"
        "- {name: noop, with: {x: 1}}\n"
    )
    output = run("check", config=config).output
    assert 'gateway.yaml:2:16 error: plugins[0].fial: unknown key\n    did you mean "fail"?' in output
    assert "gateway.yaml:3:10 error: plugins[1].name: no such plugin" in output
    assert "gateway.yaml:4:31 error: plugins[2].fail: expected one of closed, open" in output
    assert "gateway.yaml:5:3 error: plugins[3]: expected a mapping, got a number" in output
    assert "gateway.yaml:6:23 error: plugins[4].with.x: unknown key" in output


def test_check_shows_warnings_and_is_content(run: Run) -> None:
    result = run("check", config="")
    assert result.exit_code == 0
    assert "warning: no models are configured" in result.output


def test_check_without_a_file(run: Run) -> None:
    result = run("check")
    assert result.exit_code == 0
    assert "embedded defaults" in result.output
    missing = run("check", "--config", "nowhere.yaml")
    assert missing.exit_code == 1
    assert "nowhere.yaml:1:1 error: cannot read the file: No such file or directory" in missing.output
    assert "no models" not in missing.output


def test_the_schema_is_printed_and_written(run: Run, tmp_path: Path) -> None:
    assert run("schema").output == schema_text()
    assert run("schema", "--write", "s.json").exit_code == 0
    assert (tmp_path / "s.json").read_text() == schema_text()
    failed = run("schema", "--write", "nowhere/s.json")
    assert failed.exit_code == 1
    assert "No such file or directory" in failed.output


def test_models_of_the_running_gateway(run: Run, gateway: Gateway) -> None:
    result = run("models", config=config_for(gateway))
    assert result.exit_code == 0
    assert gateway.seen == "Bearer master-key-1"
    assert f"served at http://127.0.0.1:{gateway.server_port}/v1" in result.output
    assert "other" in result.output
    assert "a[b]" not in result.output
    rows = json.loads(run("models", "--json").output)
    assert rows["source"] == "running"
    assert [row["name"] for row in rows["models"]] == ["c", "other"]
    assert rows["models"][0]["targets"] == [
        {"provider": "p", "model": "x", "weight": 1.0},
        {"provider": "p", "model": "y", "weight": 1.0},
    ]


def test_the_configured_models_where_none_runs(run: Run) -> None:
    text = GOOD.replace("PORT", "0")
    result = run("models", config=text)
    assert "the gateway is not running" in result.output
    assert "a[b]" in result.output
    assert "p/x ×3" in result.output
    rows = json.loads(run("models", "--json").output)
    assert rows["source"] == "configured"
    assert rows["models"][0] == {
        "name": "a[b]",
        "strategy": "weighted",
        "targets": [{"provider": "p", "model": "x", "weight": 3.0}],
        "fallbacks": ["c"],
    }


@pytest.mark.parametrize("answer", [(404, {}), (401, {}), (200, {"data": 1}), (200, []), (200, {"data": [{}]})])
def test_what_is_not_this_gateway_is_told(run: Run, gateway: Gateway, answer: tuple[int, Any]) -> None:
    gateway.answer = answer
    result = run("models", config=config_for(gateway))
    assert result.exit_code == 0
    assert "is not this gateway" in result.stderr
    assert "not running" in result.stdout


def test_models_of_a_faulty_file(run: Run) -> None:
    result = run("models", config="modls: []")
    assert result.exit_code == 1
    assert 'unknown key (did you mean "models"?)' in result.output


def test_models_asks_nothing_without_a_key(run: Run, gateway: Gateway, tmp_path: Path) -> None:
    text = config_for(gateway).replace("master_key: master-key-1\n", "")
    assert "not running" in run("models", config=text).output
    assert gateway.seen is None
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "master_key").write_text("kept-key-1\n")
    assert "served at" in run("models").output
    assert gateway.seen == "Bearer kept-key-1"
