"""The sidecar is killed and kept away: who was known goes on, over a restart too, and nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.contract.internal import KNOWN
from gateway.domain.actor import SYSTEM
from gateway.domain.budgets.service import BudgetService
from tests.faults.offline.asking import COST, ask, configuration, ledger_of, until, until_told
from tests.faults.upstream.provider import FaultyProvider, faulty_provider
from tests.support.gateway import RunningGateway
from tests.support.sidecar import RunningSidecar, running_sidecar
from tests.support.sidecar_accounts import Accounts, accounts

AFFORDED = 12
SPARE = 20_000
"""Nano-dollars: a request reserves more than it costs, but less than what it costs and this."""


class Edge:
    """A ``gateway proxy`` and a ``gateway sidecar`` on one machine, each of which can go and come back."""

    def __init__(self, folder: Path, provider: FaultyProvider, sidecar: RunningSidecar, made: Accounts) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.provider = provider
        self.sidecar = sidecar
        self.accounts = made
        self.config = dict(sidecar.config)
        self.start_proxy()

    def start_proxy(self) -> None:
        (self.folder / "proxy").mkdir(exist_ok=True)
        self.gateway = RunningGateway(self.config, self.folder / "proxy", command="proxy")

    def restart_proxy(self, **sidecar: float) -> None:
        self.gateway.kill()
        self.config = self.config | {"sidecar": sidecar} if sidecar else self.config
        self.start_proxy()

    async def key(self) -> str:
        """A key whose budget is used up by :data:`AFFORDED` requests."""
        id, secret = await self.accounts.create_key()
        async with self.accounts.works.begin(SYSTEM) as work:
            await BudgetService(work).set("key", id, AFFORDED * COST + SPARE, "total")
        return secret

    async def heard(self) -> None:
        """Wait until the proxy has heard of every change so far: they come in order."""
        id, secret = await self.accounts.create_key()
        await until_told(self.gateway, secret, 200)
        await self.accounts.revoke_key(id)
        await until_told(self.gateway, secret, 401)


@asynccontextmanager
async def edge(folder: Path, **sidecar: float) -> AsyncIterator[Edge]:
    async with faulty_provider() as provider:
        (folder / "sidecar").mkdir()
        config = configuration(provider.base_url, folder / "data", sidecar=sidecar)
        with running_sidecar(config, folder / "sidecar") as running:
            async with accounts(str(folder / "data")) as made:
                at = Edge(folder, provider, running, made)
                try:
                    # With the first connection everything that was learnt before it is forgotten.
                    await until(lambda: "changes are heard" in at.gateway.log(), "the feed of changes")
                    yield at
                except BaseException as error:
                    error.add_note(at.gateway.log())
                    raise
                finally:
                    if at.gateway.process.poll() is None:
                        at.gateway.kill()


async def test_who_was_known_goes_on_and_the_books_add_up(tmp_path: Path) -> None:
    async with edge(tmp_path) as at:
        known, unused = await at.key(), await at.key()
        await at.heard()
        served = [(await ask(at.gateway, known)) for _ in range(3)]
        at.sidecar.end(signal.SIGKILL)
        served += [await ask(at.gateway, known) for _ in range(3)]
        for secret in (unused, "gw_live_made_up_0123456789"):
            refused = await ask(at.gateway, secret)
            assert (refused.status, refused.code) == (503, "credentials_unavailable"), "whose it is can't be known"
            assert refused.headers["retry-after"] == "1"
        at.restart_proxy()
        of_no_use_to_a_thief(at.data_dir / KNOWN, known)
        served += [await ask(at.gateway, known) for _ in range(3)]
        assert [asked.status for asked in served] == [200] * 9
        at.sidecar.start()
        served.append(await until_told(at.gateway, unused, 200))
        last = None
        while (last is None or last.status == 200) and len(served) < 2 * AFFORDED:
            served.append(last := await ask(at.gateway, known))
        refused = served.pop()
        assert (refused.status, refused.code) == (429, "insufficient_quota"), "the budget of before still holds"
        assert len(served) == AFFORDED + 1, "of which one is another key's"
        entries = await ledger_of(at.sidecar.config_path, at.data_dir)
        assert {asked.id for asked in served} <= {entry.id for entry in entries}
        assert len({entry.id for entry in entries}) == len(entries) == len(at.provider.calls)
        assert sum(entry.cost_nanos or 0 for entry in entries) == COST * len(at.provider.calls)


async def test_a_key_that_was_revoked_does_not_come_back(tmp_path: Path) -> None:
    async with edge(tmp_path) as at:
        id, secret = await at.accounts.create_key()
        other = await at.key()
        assert (await ask(at.gateway, secret)).status == (await ask(at.gateway, other)).status == 200
        await at.accounts.revoke_key(id)
        await until_told(at.gateway, secret, 401)
        assert (await ask(at.gateway, other)).status == 200
        assert at.sidecar.end() == 0
        assert not os.path.exists(at.sidecar.address.removeprefix("unix:"))  # noqa: ASYNC240 - one look
        at.restart_proxy()
        assert (await ask(at.gateway, other)).status == 200
        assert (await ask(at.gateway, secret)).code == "revoked_api_key"


def of_no_use_to_a_thief(path: Path, secret: str) -> None:
    """What a proxy that starts without a sidecar knows a key by."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = path.read_bytes()
    assert secret.encode() not in written
    assert secret.partition("_live_")[2].encode() not in written


async def test_the_grace_ends(tmp_path: Path) -> None:
    async with edge(tmp_path, grace=2.0) as at:
        _, secret = await at.accounts.create_key()
        await at.heard()
        assert (await ask(at.gateway, secret)).status == 200
        at.sidecar.end(signal.SIGKILL)
        refused = await until_told(at.gateway, secret, 503)
        assert refused.code == "credentials_unavailable"
        at.sidecar.start()
        await until_told(at.gateway, secret, 200)
        at.sidecar.end(signal.SIGKILL)
        await until_told(at.gateway, secret, 503)
        at.restart_proxy()
        assert (await ask(at.gateway, secret)).status == 503, "counted on over the restart"
