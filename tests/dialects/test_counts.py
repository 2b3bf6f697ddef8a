"""What is answered while the store of counts, which is Redis where several machines share it, gives no answer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.contract.leases import StoreUnavailable
from tests.dialects.conftest import Api

READ = ["/user/balance", "/v1/tenants/me/info", "/v1/tenants/me/usage", "/v1/tenants/me/quota-check/api_calls"]


class Gone:
    """A store that is not there."""

    async def used(self, keys: Sequence[str], now: float) -> dict[str, int]:
        raise StoreUnavailable("no answer in time")

    async def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("path", READ)
async def test_what_needs_the_counts_is_for_later(api: Api, path: str) -> None:
    person = await api.person()
    api.sidecar.counters = Gone()
    answer = await person.http.get(path)
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"] == "1"
    assert "cannot be read just now" in answer.text


async def test_money_is_not_given_where_it_cannot_be_told(api: Api) -> None:
    person = await api.person()
    api.sidecar.counters = Gone()
    answer = await api.master.post("/admin/add_credits", json={"user_id": person.number, "credits": 1})
    assert answer.status_code == 503, answer.text
    assert await api.audited("credits.added") == []
