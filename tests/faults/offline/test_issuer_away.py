"""The issuer of tokens is away: its tokens go on being taken, over a restart of the sidecar and of the proxy too."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from tests.faults.offline.asking import ask, configuration, until, until_told
from tests.faults.upstream.provider import faulty_provider
from tests.support.gateway import RunningGateway
from tests.support.oidc_issuer import running_issuer
from tests.support.sidecar import running_sidecar


async def test_tokens_go_on(tmp_path: Path) -> None:
    async with running_issuer(("one", "ES256")) as issuer, faulty_provider() as provider:
        oidc = [{"issuer": issuer.url, "audience": "gateway", "role_claim": "role"}]
        config = configuration(provider.base_url, tmp_path / "data", oidc=oidc)
        (tmp_path / "sidecar").mkdir()
        (tmp_path / "proxy").mkdir()
        with running_sidecar(config, tmp_path / "sidecar") as sidecar:
            gateway = RunningGateway(config, tmp_path / "proxy", command="proxy")
            try:
                await until(lambda: "changes are heard" in gateway.log(), "the feed of changes")
                role: dict[str, Any] = {"role": "developer", "exp": 9_999_999_999}
                known = issuer.token("one", **role)
                await until_told(gateway, known, 200)
                await issuer.stop()
                assert (await ask(gateway, known)).status == 200
                fresh = issuer.token("one", jti="another", **role)
                assert (await ask(gateway, fresh)).status == 200, "the keys it had verify new tokens"
                sidecar.end(signal.SIGKILL)
                sidecar.start()
                third = issuer.token("one", jti="third", **role)
                await until_told(gateway, third, 200)
                issuer.add_key("rotated", "ES256")
                rotated = issuer.token("rotated", **role)
                refused = await ask(gateway, rotated)
                assert (refused.status, refused.code) == (503, "credentials_unavailable"), "nobody can know it"
                gateway.kill()
                sidecar.end(signal.SIGKILL)
                gateway = RunningGateway(config, tmp_path / "proxy", command="proxy")
                assert (await ask(gateway, known)).status == 200, "the sidecar is away too, and the proxy was restarted"
                await issuer.start()
                sidecar.start()
                await until_told(gateway, rotated, 200)
            finally:
                gateway.kill()
