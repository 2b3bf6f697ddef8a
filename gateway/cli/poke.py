"""Telling a running sidecar that the database was changed from outside of it."""

from __future__ import annotations

import httpx

from gateway.cli.rundir import find_sidecar
from gateway.contract.internal import HEADER, PREFIX, internal_token
from gateway.settings.model import Settings

TIMEOUT = 2.0


async def poke(settings: Settings, master_key: str) -> bool:
    """Have the sidecar look for changes at once; whether one heard it. One that did not looks by itself soon."""
    place = settings.sidecar.url or find_sidecar(settings.data_dir)
    if place is None:
        return False
    path = place.removeprefix("unix:")
    over_http = path.startswith(("http://", "https://"))
    transport = httpx.AsyncHTTPTransport(uds=None if over_http else path)
    url = f"{path if over_http else 'http://sidecar'}{PREFIX}poke"
    # The header is for this gateway's sidecar: a proxy of the environment must not see it.
    async with httpx.AsyncClient(transport=transport, timeout=TIMEOUT, trust_env=False) as client:
        try:
            answer = await client.post(url, headers={HEADER: internal_token(master_key)})
        except httpx.HTTPError:
            return False
    return answer.is_success
