"""A configuration made ready, and let go after its last request."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.dataplane import runtime as runtimes
from gateway.dataplane.runtime import Runtime, build_runtime
from gateway.dataplane.upstream.resolver import Resolver
from gateway.kernel.errors import GatewayError
from gateway.plugin.load import PluginError
from gateway.settings.model import Limit, PluginUse, Settings
from tests.support.worker import MASTER, provider, settings_for

PLUGIN = """
from pathlib import Path
from gateway.plugin.api import Plugin

class Stops(Plugin):
    name = "stops"

    async def start(self):
        if Path(__file__).with_name("broken").exists():
            raise RuntimeError("can't start")

    async def stop(self):
        Path(__file__).with_name("stopped").touch()
"""


def settings(limit: float, *plugins: PluginUse) -> Settings:
    limits = (Limit(metric="requests", limit=limit, window="day"),)
    base = settings_for(provider("http://127.0.0.1:9/v1"), limits=limits)
    return Settings(providers=base.providers, models=base.models, keys=base.keys, plugins=plugins)


async def build(directory: Path, wanted: Settings, previous: Runtime | None = None) -> Runtime:
    resolver = Resolver(asyncio.get_running_loop())
    return await build_runtime(
        wanted, base_dir=directory, master_key=MASTER, local_socket=None, resolver=resolver, previous=previous
    )


@pytest.fixture
def plugin(tmp_path: Path) -> PluginUse:
    """A plugin that leaves a file when it is stopped, and can't start where a file says so."""
    path = tmp_path / "stops.py"
    path.write_text(PLUGIN)
    return PluginUse(name="stops", path=str(path))


def exists(path: Path) -> bool:
    return path.exists()


async def finished() -> None:
    await asyncio.gather(*runtimes._tasks)


async def test_what_was_used_goes_on_counting_under_the_new_limit(tmp_path: Path) -> None:
    old = await build(tmp_path, settings(2))
    old.limiters["unit"].for_model("m", old.shared).admit(0, 0, 1.0)
    new = await build(tmp_path, settings(1), old)
    caller = new.credentials.find(b"gw_test_unit")
    assert caller is not None
    with pytest.raises(GatewayError):
        caller.limiter.for_model("m", new.shared).admit(0, 0, 2.0)


async def test_a_configuration_that_fails_changes_nothing_of_the_one_in_use(tmp_path: Path, plugin: PluginUse) -> None:
    old = await build(tmp_path, settings(5))
    limiter = old.limiters["unit"].for_model("m", old.shared)
    limiter.admit(0, 0, 1.0)
    (tmp_path / "broken").touch()
    with pytest.raises((PluginError, RuntimeError)):
        await build(tmp_path, settings(1, plugin), old)
    with pytest.raises(PluginError):
        await build(tmp_path, settings(1, PluginUse(name="no such plugin")), old)
    assert [(counter.count.limit, counter.count.taken) for counter in limiter.all] == [(5, 1)]
    limiter.admit(0, 0, 2.0)


async def test_a_replaced_configuration_is_let_go_with_its_last_request(tmp_path: Path, plugin: PluginUse) -> None:
    one = await build(tmp_path, settings(5, plugin))
    one.active = 2
    one.retire()
    one.finished()
    await asyncio.sleep(0)
    assert not one.pools["up"].closed
    assert not exists(tmp_path / "stopped")
    one.finished()
    await finished()
    assert one.pools["up"].closed
    assert exists(tmp_path / "stopped")


async def test_a_replaced_configuration_without_requests_is_let_go_at_once(tmp_path: Path, plugin: PluginUse) -> None:
    one = await build(tmp_path, settings(5, plugin))
    one.retire()
    await finished()
    assert one.pools["up"].closed
    assert exists(tmp_path / "stopped")


async def test_the_master_key_has_no_limits(tmp_path: Path) -> None:
    one = await build(tmp_path, settings(0))
    caller = one.credentials.find(MASTER.encode())
    assert caller is not None
    assert (caller.name, caller.limiter.counters) == ("master", ())
