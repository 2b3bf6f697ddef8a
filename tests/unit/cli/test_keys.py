"""``gateway keys``: against a real database, and with a sidecar that listens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from gateway.cli.main import cli
from gateway.cli.rundir import sidecar_socket
from gateway.contract.internal import HEADER, internal_token
from gateway.domain.audit.model import AuditRecord
from gateway.domain.credentials import repo
from gateway.domain.credentials.model import Credential
from gateway.kernel.secrets import digest_of
from gateway.store.engine import Store
from tests.support.postgres import PostgresServer

MASTER_KEY = "gw_live_the-master-key"
CONFIG = f"""
master_key: {MASTER_KEY}
keys: [{{key: gw_live_static, name: s, organization: acme}}]
"""

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``gateway keys`` in a directory with a configuration."""
    monkeypatch.chdir(tmp_path)
    Path("gateway.yaml").write_text(CONFIG)
    return lambda *arguments: CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["keys", *arguments])


def done(result: Result) -> Any:
    """What a command printed as JSON."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def kept(secret: str, url: str | None = None) -> Credential | None:
    """The row of a secret."""

    async def read() -> Credential | None:
        store = Store.open(url, "data")
        try:
            async with store.reading() as session:
                return await repo.by_digest(session, digest_of(secret.encode()))
        finally:
            await store.close()

    return asyncio.run(read())


def test_a_key_is_made_rotated_and_revoked(run: Run) -> None:
    made = done(run("create", "demo", "--json"))
    assert re.fullmatch(r"gw_live_\w{51}", made["key"])
    assert (made["name"], made["organization"], made["user"]) == ("demo", "default", None)
    assert (made["scopes"], made["status"]) == (["api:read", "api:write", "inference"], "active")
    row = kept(made["key"])
    assert row is not None
    assert row.id == made["id"]
    rotated = done(run("rotate", made["id"], "--grace", "60", "--json"))
    assert rotated["id"] == made["id"]
    assert rotated["key"] != made["key"]
    old = kept(made["key"])
    assert old is not None
    assert old.replaced_by == made["id"]
    assert done(run("revoke", str(made["number"]), "--json"))["status"] == "revoked"
    assert done(run("list", "--json")) == {"keys": [], "total": 0}
    listed = done(run("list", "--revoked", "--json"))
    assert [(key["id"], key["status"]) for key in listed["keys"]] == [(made["id"], "revoked")]
    assert made["key"] not in json.dumps(listed)


def test_the_database_is_for_its_user_alone(run: Run) -> None:
    Path("data").mkdir(mode=0o755)
    done(run("create", "demo", "--json"))
    assert Path("data/gateway.db").stat().st_mode & 0o777 == 0o600


def test_everything_about_a_key_can_be_said(run: Run) -> None:
    options = "--family sk --environment test --scope usage:write --scope costs:read --model m --cidr 10.1.2.3/8"
    made = done(run("create", "svc", "--organization", "acme", *options.split(), "--expires", "90d", "--json"))
    assert made["key"].startswith("sk_test_")
    assert (made["scopes"], made["models"], made["cidrs"]) == (["costs:read", "usage:write"], ["m"], ["10.0.0.0/8"])
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < left <= timedelta(days=90)
    fixed = done(run("create", "svc", "--expires", "2999-12-31T23:59:59", "--json"))
    assert fixed["expires_at"] == "2999-12-31T23:59:59+00:00"
    assert [key["name"] for key in done(run("list", "--organization", "acme", "--json"))["keys"]] == ["svc"]


def test_a_person_is_told_what_to_do_with_it(run: Run) -> None:
    shown = run("create", "[red]demo[/red]")
    secret = re.search(r"gw_live_\w{51}", shown.stdout)
    assert secret is not None
    assert "not shown again" in shown.stdout
    listed = run("list").stdout
    assert "[red]demo[/red]" in listed
    assert "gw_live_…" in listed
    assert secret[0] not in listed
    assert "is revoked" in run("revoke", "1").stdout


def test_pages_go_on_where_the_last_ended(run: Run) -> None:
    for name in "abc":
        done(run("create", name, "--json"))
    first = run("list", "--limit", "2")
    assert "2 of 3 keys" in first.stdout
    assert "--after 2" in first.stdout
    rest = done(run("list", "--limit", "2", "--after", "2", "--json"))
    assert ([key["name"] for key in rest["keys"]], rest["total"]) == (["c"], 3)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["revoke", "key_nothing"], 1, "There is no such key."),
        (["rotate", "7"], 1, "There is no such key."),
        (["create", "x", "--organization", "nowhere"], 1, "no organization 'nowhere'"),
        (["create", "x", "--scope", "flying:read"], 1, "is no scope"),
        (["create", "x", "--cidr", "home"], 1, "cidrs[0]"),
        (["create", "x", "--expires", "soon"], 2, "a span such as 90d"),
        (["create", "x", "--expires", "2001-01-01"], 1, "in the future"),
        (["create"], 2, "NAME"),
    ],
)
def test_what_is_refused_is_said(run: Run, arguments: list[str], code: int, told: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert told in result.stderr
    assert "Traceback" not in result.output


def test_a_database_that_cannot_be_used_is_said(run: Run) -> None:
    Path("data").write_text("in the way")
    result = run("create", "x")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: ")


def test_a_first_command_makes_the_master_key(run: Run) -> None:
    Path("gateway.yaml").write_text("{}")
    assert "A master key was made" in run("create", "x").stderr
    assert Path("data/master_key").exists()
    assert run("create", "x").stderr == ""


def test_the_audit_log_names_the_operator(run: Run) -> None:
    made = done(run("create", "demo", "--json"))

    async def recorded() -> list[tuple[str, str, str | None, str | None]]:
        store = Store.open(None, "data")
        try:
            async with store.reading() as session:
                rows = await session.scalars(select(AuditRecord).where(AuditRecord.action == "auth.api_key.created"))
                return [(row.actor_kind, row.actor_id, row.resource_id, row.user_agent) for row in rows]
        finally:
            await store.close()

    assert asyncio.run(recorded()) == [("master", "master", made["id"], "gateway keys")]
    verified = CliRunner().invoke(cli, ["audit", "verify", "--json"])
    assert json.loads(verified.stdout)["intact"] is True


def test_the_same_over_postgresql(run: Run, postgres: PostgresServer) -> None:
    url = postgres.url(asyncio.run(postgres.create()))
    Path("gateway.yaml").write_text(f"{CONFIG}\ndatabase_url: {url}\n")
    made = done(run("create", "demo", "--json"))
    row = kept(made["key"], url)
    assert row is not None
    assert row.id == made["id"]
    assert done(run("list", "--json"))["total"] == 1
    assert not Path("data/gateway.db").exists()


@contextlib.contextmanager
def listening(path: str) -> Iterator[list[tuple[str, str | None]]]:
    """A sidecar that notes who pokes it."""
    heard: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append((self.path, self.headers.get(HEADER)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

        def address_string(self) -> str:
            return "sidecar"

    with UnixStreamServer(path, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield heard
        server.shutdown()
        thread.join()


def test_a_running_sidecar_is_told(run: Run) -> None:
    poked = ("/internal/poke", internal_token(MASTER_KEY))
    with listening(sidecar_socket("data")) as heard:
        done(run("create", "demo", "--json"))
        assert heard == [poked]
        done(run("list", "--json"))
        assert run("revoke", "99").exit_code == 1
        assert heard == [poked]
        done(run("revoke", "1", "--json"))
        assert heard == [poked, poked]
    # The socket is still there, and nobody answers.
    assert done(run("create", "demo", "--json"))["status"] == "active"


def test_a_sidecar_elsewhere_is_told(run: Run, tmp_path: Path) -> None:
    socket = tmp_path / "s.sock"
    Path("gateway.yaml").write_text(f"{CONFIG}\nsidecar: {{url: 'unix:{socket}'}}\n")
    with listening(str(socket)) as heard:
        done(run("create", "demo", "--json"))
    assert len(heard) == 1
