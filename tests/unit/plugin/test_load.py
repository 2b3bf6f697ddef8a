from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.plugin.api import PluginContext
from gateway.plugin.find import GROUP, find_class, shipped_names
from gateway.plugin.load import PluginError, build_chain, load_plugins
from gateway.settings.model import PluginUse

ROOT = Path(__file__).parents[3]
CONTEXT = PluginContext(data_dir=".", redis_url=None)

TYPED = """
from typing import Literal
from msgspec import Struct
from gateway.plugin.api import Plugin

class Rule(Struct, forbid_unknown_fields=True):
    word: str
    count: int = 1

class Typed(Plugin):
    name = "typed"

    class Config(Struct):
        limit: int
        mode: Literal["soft", "hard"] = "soft"
        rules: list[Rule] = []

    def __init__(self, config, context):
        super().__init__(config, context)
        if config.limit < 0:
            raise ValueError("limit must not be negative")
"""


def use(name: str, path: str | None = None, **config: Any) -> PluginUse:
    return PluginUse(name=name, path=path, with_=config)


def faults(base_dir: Path, *uses: PluginUse) -> list[str]:
    with pytest.raises(PluginError) as caught:
        load_plugins(uses, CONTEXT, base_dir)
    return [str(fault) for fault in caught.value.faults]


@pytest.fixture
def typed(tmp_path: Path) -> Path:
    (tmp_path / "typed.py").write_text(TYPED)
    return tmp_path


def test_every_shipped_plugin_is_also_an_entry_point() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    assert sorted(points) == shipped_names()
    for name, value in points.items():
        found = find_class(name, None, ROOT)
        module, _, attribute = value.partition(":")
        assert value == f"{module}:{attribute}"
        assert getattr(sys.modules[module], attribute) is found


def test_a_shipped_plugin_is_found_without_scanning_metadata() -> None:
    program = (
        "import sys; from pathlib import Path; from gateway.plugin.find import find_class;"
        "find_class('noop', None, Path()); sys.exit('importlib.metadata' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=60)


def test_an_entry_point_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("outside", "tests.support.outside_plugin:Outside", GROUP)
    broken = importlib.metadata.EntryPoint("broken", "tests.support.no_such_module:X", GROUP)
    points = importlib.metadata.EntryPoints([point, broken])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points.select(group=group))
    [(plugin, fail)] = load_plugins([use("outside", greeting="hi")], CONTEXT, ROOT)
    assert (plugin.name, plugin.config.greeting, fail) == ("outside", "hi", "closed")
    [fault] = faults(ROOT, use("broken"))
    assert "tests.support.no_such_module:X cannot be loaded: ModuleNotFoundError" in fault
    assert 'did you mean "outside"?' in faults(ROOT, use("outsid"))[0]


@pytest.mark.parametrize("path", ["typed.py", "typed.py:Typed", "./typed.py"])
def test_a_file_is_loaded_with_its_typed_configuration(typed: Path, path: str) -> None:
    chain = build_chain([use("typed", path, limit=3, rules=[{"word": "x"}])], CONTEXT, typed)
    [plugin] = chain.plugins
    assert (plugin.config.limit, plugin.config.mode, plugin.config.rules[0].word) == (3, "soft", "x")


def test_a_changed_file_takes_effect(typed: Path) -> None:
    first = find_class("typed", "typed.py", typed)
    (typed / "typed.py").write_text(TYPED.replace('"soft"', '"firm"'))
    second = find_class("typed", "typed.py", typed)
    assert first is not second
    assert second.Config(limit=1).mode == "firm"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"limit": "3"}, "plugins[0].with.limit: expected `int`, got `str`"),
        ({}, "plugins[0].with.limit: required, and not given"),
        ({"limit": 1, "limt": 2}, 'plugins[0].with.limt: unknown key (did you mean "limit"?)'),
        ({"limit": 1, "mode": "medium"}, "plugins[0].with.mode: expected one of soft, hard"),
        (
            {"limit": 1, "rules": [{"word": "a"}, {"word": "b", "wrod": 1}]},
            'plugins[0].with.rules[1].wrod: unknown key (did you mean "word"?)',
        ),
        ({"limit": 1, "rules": [{"word": 5}]}, "plugins[0].with.rules[0].word: expected `str`, got `int`"),
        ({"limit": -1}, "plugins[0].with: limit must not be negative"),
    ],
)
def test_a_bad_configuration_names_plugin_field_and_expectation(
    typed: Path, config: dict[str, Any], expected: str
) -> None:
    assert faults(typed, use("typed", "typed.py", **config)) == [f'plugin "typed": {expected}']


def test_every_fault_is_reported_at_once(typed: Path) -> None:
    found = faults(
        typed,
        use("response-cache"),
        use("noop", colour="red"),
        use("noop"),
        use("typed", "missing.py"),
        use("zzzzzz"),
    )
    assert found[0] == 'plugin "response-cache": plugins[0].name: no such plugin (did you mean "response_cache"?)'
    assert found[1] == 'plugin "noop": plugins[1].with.colour: unknown key (this plugin has no configuration)'
    assert found[2].startswith('plugin "noop": plugins[2].name: already in the chain as plugins[1]')
    assert found[3].startswith('plugin "typed": plugins[3].path: no such file')
    assert "known here: keyword_guard, noop" in found[4]


@pytest.mark.parametrize(
    ("source", "path", "expected"),
    [
        ("x = (", "p.py", "plugins[0].path: the file cannot be loaded: SyntaxError"),
        ("import no_such_module_here", "p.py", "the file cannot be loaded: ModuleNotFoundError"),
        ("x = 1", "p.py", "expected a class that derives from gateway.plugin.api.Plugin, found none"),
        ("class P: pass", "p.py:P", "expected a class that derives from gateway.plugin.api.Plugin"),
        ("{P}class P(Plugin): name = 'p'", "p.py:Q", "the file has no class Q"),
        ("{P}class P(Plugin): name = 'other'", "p.py", "the class P calls itself 'other'"),
        ("{P}class A(Plugin): pass\nclass B(Plugin): pass", "p.py", "expected one plugin class, found A, B"),
        ("{P}class P(Plugin):\n name = 'p'\n def on_reqest(self, r): ...", "p.py", "unknown hook on_reqest"),
        ("{P}class P(Plugin):\n name = 'p'\n Config = dict", "p.py", "P.Config must be a msgspec.Struct"),
        ("{P}class P(Plugin):\n name = 'p'\n def __init__(self, c, x): 1/0", "p.py", "ZeroDivisionError"),
    ],
)
def test_an_unusable_file_says_why(tmp_path: Path, source: str, path: str, expected: str) -> None:
    (tmp_path / "p.py").write_text(source.replace("{P}", "from gateway.plugin.api import Plugin\n"))
    [fault] = faults(tmp_path, use("p", path))
    assert expected in fault
    assert fault.startswith('plugin "p": ')


def test_a_wrong_enumeration_value_is_not_repeated(typed: Path) -> None:
    [fault] = faults(typed, use("typed", "typed.py", limit=1, mode="sk_live_secret"))
    assert "sk_live" not in fault
