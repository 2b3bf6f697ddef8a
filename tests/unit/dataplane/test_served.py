"""Which endpoints each kind of provider serves, held against the table in ``docs/protocols.md``."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from pathlib import Path

import pytest

from gateway.dataplane.endpoints.inference import ENDPOINTS
from gateway.dataplane.target import Target
from gateway.dataplane.upstream.pool import Pool
from gateway.dataplane.upstream.resolver import Resolver
from gateway.settings.kinds import names
from gateway.settings.model import Provider

REPOSITORY = Path(__file__).parents[3]
OTHERS = tuple(
    endpoint
    for endpoint in ENDPOINTS
    if endpoint.protocol is None and endpoint.name not in ("chat.completions", "completions")
)


def documented() -> dict[str, dict[str, str]]:
    """Of each kind what the table says, by path."""
    text = (REPOSITORY / "docs" / "protocols.md").read_text("utf-8").partition("## Everything but chat")[2]
    head, _, *rows = re.findall(r"^\|(.*)\|$", text.partition("\n\nOther kinds")[0], re.M)
    paths = re.findall(r"`([a-z/]+)`", head)
    found = {}
    for row in rows:
        kinds, *cells = [cell.strip() for cell in row.split("|")]
        for kind in re.findall(r"`(\w+)`", kinds):
            found[kind] = dict(zip(paths, cells, strict=True))
    return found


def served(kind: str) -> dict[str, str]:
    provider = Provider(name="p", kind=kind, base_url="http://x", options={"api_version": "1"})
    with closing(asyncio.new_event_loop()) as loop:
        target = Target(provider, "m", Pool(provider, "http://x", loop, Resolver(loop)), None)
    how = "relayed" if target.translator is None else "translated"
    return {endpoint.path.decode()[1:]: how if target.serves(endpoint.name) else "–" for endpoint in OTHERS}


@pytest.mark.parametrize("kind", names())
def test_the_table_says_what_is_so(kind: str) -> None:
    nothing = {endpoint.path.decode()[1:]: "–" for endpoint in OTHERS}

    assert documented().get(kind, nothing) == served(kind)
