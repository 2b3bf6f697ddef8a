"""That nobody waits for a write while a password is hashed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.domain.actor import SYSTEM
from gateway.domain.users import passwords
from tests.dialects.conftest import Api

ASKED: list[tuple[str, dict[str, Any]]] = [
    ("/admin/create", {"email": "ada@example.com", "password": "a password of ada"}),
    ("/v1/tenants", {"organization_name": "Acme", "admin_email": "ada@example.com", "plan": "team"}),
]


@pytest.mark.parametrize(("path", "body"), ASKED)
async def test_others_write_while_a_password_is_hashed(
    every_api: Api, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    hashed, written = passwords.hashed, []

    async def slow(password: str) -> str:
        async with asyncio.timeout(30), every_api.sidecar.works.begin(SYSTEM) as work:
            await work.audit("thing.made", "thing", "meanwhile")
        written.append(path)
        return await hashed(password)

    monkeypatch.setattr(passwords, "hashed", slow)
    answer = await every_api.master.post(path, json=body)
    assert answer.is_success, answer.text
    assert written == [path]
    assert len(await every_api.audited("thing.made")) == 1


@pytest.mark.parametrize(("path", "body"), ASKED)
async def test_nothing_is_hashed_for_who_may_not(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    owner = await api.person("owner@example.com", "owner", await api.organization())

    async def never(_password: str) -> str:
        raise AssertionError

    monkeypatch.setattr(passwords, "hashed", never)
    assert (await owner.http.post(path, json=body)).status_code == 403
