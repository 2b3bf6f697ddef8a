"""The plugin shown in docs/adding-a-plugin.md is loaded from a file, as its reader would, and run."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from gateway.kernel.errors import GatewayError, Kind
from gateway.plugin import api
from gateway.plugin.api import Plugin, PluginContext
from gateway.plugin.chain import Chain
from gateway.plugin.load import PluginError, build_chain
from gateway.settings.model import PluginUse
from tests.support.plugins import make_request

PAGE = (Path(__file__).parents[3] / "docs" / "adding-a-plugin.md").read_text()


def block(language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert match is not None
    return match.group(1)


def chain_of_the_page(folder: Path, **config: Any) -> Chain:
    (folder / "business_hours.py").write_text(block("python"))
    [entry] = yaml.safe_load(block("yaml"))["plugins"]
    entry["with"] |= config
    return build_chain([msgspec.convert(entry, PluginUse)], PluginContext(data_dir=".", redis_url=None), folder)


async def test_the_page_s_plugin_lets_pass_and_refuses(tmp_path: Path) -> None:
    hour = datetime.now(UTC).hour
    chain = chain_of_the_page(tmp_path, opens=0, closes=24)
    request = make_request({"model": "m"}, chain=chain)
    assert await chain.request(request) is None
    assert request.tags == {"shift": "day"}
    closed = chain_of_the_page(tmp_path, opens=(hour + 2) % 24, closes=(hour + 2) % 24)
    with pytest.raises(GatewayError, match="at rest") as caught:
        await closed.request(make_request({"model": "m"}, chain=closed))
    assert (caught.value.kind, caught.value.code) == (Kind.FORBIDDEN, "closed")


def test_the_page_s_plugin_has_a_typed_configuration(tmp_path: Path) -> None:
    assert chain_of_the_page(tmp_path).plugins[0].config.opens == 7
    with pytest.raises(PluginError, match=r'with\.closed: unknown key \(did you mean "closes"\?\)'):
        chain_of_the_page(tmp_path, closed=1)


def test_the_page_s_plugin_is_about_fifteen_lines() -> None:
    assert len([line for line in block("python").splitlines() if line.strip()]) <= 15


def test_every_hook_and_every_shipped_plugin_is_documented() -> None:
    for hook in [name for name in vars(Plugin) if name.startswith("on_")]:
        assert f"| `{hook}(" in PAGE
    shipped = [path for path in (Path(__file__).parents[3] / "plugins").iterdir() if (path / "plugin.py").exists()]
    assert len(shipped) == 6
    for folder in shipped:
        readme = (folder / "README.md").read_text()
        assert readme.startswith(f"# {folder.name}\n")
        module = __import__(f"plugins.{folder.name}", fromlist=["*"])
        found = getattr(module, module.__all__[0])
        for field in msgspec.structs.fields(found.Config):
            assert re.search(rf"`[^`]*\b{field.encode_name}\b", readme), f"{folder.name}: {field.encode_name}"
    assert api.Plugin.Config is api.NoConfig
