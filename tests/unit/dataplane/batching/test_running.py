"""Batches that run: each line is a request of its credential, and is answered once whatever happens."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from gateway.dataplane.auth import credentials_from
from gateway.dataplane.batching import judging, yielding
from gateway.dataplane.batching import runner as runners
from gateway.settings.model import Batches, Concurrency, Key, Limit, Price, Retry, Settings
from gateway.settings.plans import Budget
from tests.support.raw_upstream import Peer, answer, completion, raw_upstream, serve_completions
from tests.support.worker import KEY, MASTER, provider, settings_for
from tests.unit.dataplane.batching.conftest import LONG, line, place

OTHER = "gw_test_other"


class Gated:
    """An upstream's script that answers when it is let; ``waiting`` is how many requests it holds."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.waiting = 0

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.request()
            self.waiting += 1
            try:
                await self.open.wait()
            finally:
                self.waiting -= 1
            await peer.send(answer(completion()))


def said(upstream: Any) -> list[str]:
    """What the upstream was asked, in order."""
    return [orjson.loads(request.body)["messages"][0]["content"] for request in upstream.requests]


def with_batches(settings: Settings, **batches: Any) -> Settings:
    return msgspec.structs.replace(settings, batches=Batches(**batches))


async def test_each_line_is_asked_and_its_answer_written(tmp_path: Path) -> None:
    async with (
        raw_upstream(serve_completions) as upstream,
        place(settings_for(provider(upstream.base_url)), tmp_path) as here,
    ):
        lines = [line(f"id-{i}", f"said-{i}") for i in range(20)]
        batch_id = await here.create(*lines, line("none", model="none"), metadata={"a": "b"})
        batch = await here.ended(batch_id)
        assert batch["status"] == "completed"
        assert batch["request_counts"] == {"total": 21, "completed": 20, "failed": 1}
        assert batch["metadata"] == {"a": "b"}
        times = [batch[f"{name}_at"] for name in ("created", "in_progress", "finalizing", "completed")]
        assert times == sorted(times)
        output = await here.lines(batch["output_file_id"])
        assert list(output) == [f"id-{i}" for i in range(20)]
        for each in output.values():
            assert each["response"]["status_code"] == 200
            assert each["response"]["body"]["choices"][0]["message"]["content"] == "hello"
        (failed,) = (await here.lines(batch["error_file_id"])).values()
        assert (failed["custom_id"], failed["response"]["body"]["error"]["code"]) == ("none", "model_not_found")
        assert sorted(said(upstream)) == sorted(f"said-{i}" for i in range(20))
        events = [event for event in here.gateway.sink.events if event.tags == {"batch_id": batch_id}]
        assert len(events) == 20
        assert {(event.credential, event.organization, event.outcome) for event in events} == {("unit", "acme", "ok")}
        assert {each["response"]["request_id"] for each in output.values()} == {event.id for event in events}
        async with asyncio.timeout(LONG):
            while await here.batching.store.do(lambda database: database.answered(batch_id)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_no_more_lines_are_under_way_than_may_be(tmp_path: Path) -> None:
    gated = Gated()
    async with raw_upstream(gated) as upstream:
        settings = with_batches(settings_for(provider(upstream.base_url)), concurrency=3, total_concurrency=4)
        async with place(settings, tmp_path) as here:
            first = await here.create(*[line(f"id-{i}") for i in range(9)])
            await upstream.until(lambda: gated.waiting == 3)
            second = await here.create(*[line(f"id-{i}") for i in range(9)])
            third = await here.create(line("id"))
            await upstream.until(lambda: gated.waiting == 4)
            await here.until(second, lambda batch: batch["status"] == "in_progress")
            assert len(here.batching.runner.asking) == 4
            assert (await here.read(third))["status"] == "validating"  # two of an organisation run at once
            gated.open.set()
            for batch_id in (first, second, third):
                assert (await here.ended(batch_id))["status"] == "completed"
            assert len(upstream.requests) == 19


async def test_a_rate_limit_is_waited_for(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            limited = len(upstream.requests) <= 2
            busy = answer(b'{"error": {"code": "slow"}}', b"retry-after: 1", status=b"429 Slow")
            await peer.send(busy if limited else answer(completion()))

    one_try = Retry(attempts=1)
    limits = (Limit(metric="concurrency", limit=1),)
    async with (
        raw_upstream(script) as upstream,
        place(settings_for(provider(upstream.base_url, retry=one_try), limits=limits), tmp_path) as here,
    ):
        batch = await here.ended(await here.create(*[line(f"id-{i}") for i in range(5)]))
        assert (batch["status"], batch["request_counts"]["completed"]) == ("completed", 5)
        assert batch["error_file_id"] is None
        assert here.batching.runner.retried >= 2


async def test_a_budget_that_is_spent_ends_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_SPENT", 1)  # each time takes a second
    prices = (Price(provider="up", model="x", input_per_1k=1.0, output_per_1k=1.0),)
    async with raw_upstream(serve_completions) as upstream:
        settings = settings_for(provider(upstream.base_url), prices=prices, budget=Budget(amount=0.1, period="month"))
        async with place(settings, tmp_path) as here:
            # Each costs 7 tokens and reserves about 60: none is refused while others hold what is in the way.
            batch_id = await here.create(*[line(f"id-{i}", max_tokens=20) for i in range(30)])
            batch = await here.ended(batch_id)
        done = batch["request_counts"]["completed"]
        assert batch["status"] == "failed"
        assert [error["code"] for error in batch["errors"]["data"]] == ["insufficient_quota"]
        assert 1 <= done < 30
        assert len(upstream.requests) == done
        assert batch["failed_at"] >= batch["in_progress_at"]


async def test_a_credential_that_is_gone_ends_the_batch(tmp_path: Path) -> None:
    gated = Gated()
    async with raw_upstream(gated) as upstream:
        settings = with_batches(settings_for(provider(upstream.base_url)), concurrency=2)
        async with place(settings, tmp_path) as here:
            batch_id = await here.create(*[line(f"id-{i}") for i in range(6)])
            await upstream.until(lambda: gated.waiting == 2)
            other = msgspec.structs.replace(settings, keys=(Key(key=OTHER, name="other", organization="acme"),))
            runtime = here.gateway.runtime
            runtime.credentials, _ = credentials_from(other, MASTER, runtime.shared.registry)
            gated.open.set()
            assert (await here.ask("GET", "/batches")).status == 401
            found = await here.ask("GET", f"/batches/{batch_id}", key=OTHER)
            while found.json["status"] != "failed":
                assert found.json["status"] in ("in_progress", "finalizing")
                found = await here.ask("GET", f"/batches/{batch_id}", key=OTHER)
        assert found.json["errors"]["data"][0]["code"] == "invalid_api_key"
        assert found.json["request_counts"] == {"total": 6, "completed": 2, "failed": 0}
        assert len(upstream.requests) == 2


async def test_a_batch_can_be_cancelled(tmp_path: Path) -> None:
    gated = Gated()
    async with raw_upstream(gated) as upstream:
        settings = with_batches(settings_for(provider(upstream.base_url)), concurrency=2)
        async with place(settings, tmp_path) as here:
            batch_id = await here.create(*[line(f"id-{i}") for i in range(6)])
            await upstream.until(lambda: gated.waiting == 2)
            cancelled = await here.ask("POST", f"/batches/{batch_id}/cancel")
            assert cancelled.json["status"] == "cancelling"
            assert (await here.ask("POST", f"/batches/{batch_id}/cancel")).status == 200
            in_use = await here.ask("DELETE", f"/files/{cancelled.json['input_file_id']}")
            assert (in_use.status, in_use.code) == (409, "file_in_use")
            while not here.batching.runner._runs[batch_id][0]._is_over:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            gated.open.set()
            batch = await here.ended(batch_id)
            assert batch["status"] == "cancelled"
            assert batch["cancelled_at"] >= batch["cancelling_at"]
            assert len(await here.lines(batch["output_file_id"])) == 2
            errors = await here.lines(batch["error_file_id"])
            assert {each["error"]["code"] for each in errors.values()} == {"batch_cancelled"}
            assert len(errors) == 4
            late = await here.ask("POST", f"/batches/{batch_id}/cancel")
            assert late.json["status"] == "cancelled"
            assert (await here.ask("DELETE", f"/files/{batch['input_file_id']}")).json["deleted"] is True


async def test_a_batch_ends_when_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "LOOK", 0.05)
    gated = Gated()
    async with raw_upstream(gated) as upstream:
        settings = with_batches(settings_for(provider(upstream.base_url)), concurrency=1)
        async with place(settings, tmp_path) as here:
            batch_id = await here.create(*[line(f"id-{i}") for i in range(3)])
            await upstream.until(lambda: gated.waiting == 1)
            run = here.batching.runner._runs[batch_id][0]
            run._batch.expires = int(time.time()) - 1
            while not run._is_over:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            gated.open.set()
            batch = await here.ended(batch_id)
            assert batch["status"] == "expired"
            assert list(await here.lines(batch["output_file_id"])) == ["id-0"]
            errors = await here.lines(batch["error_file_id"])
            assert [each["error"]["code"] for each in errors.values()] == ["batch_expired"] * 2


async def test_another_worker_goes_on_where_one_left(tmp_path: Path) -> None:
    gated = Gated()
    async with raw_upstream(gated) as upstream:
        settings = with_batches(settings_for(provider(upstream.base_url)), concurrency=3)
        async with place(settings, tmp_path) as here:
            batch_id = await here.create(*[line(f"id-{i}", f"said-{i}") for i in range(9)])
            await upstream.until(lambda: gated.waiting == 3)
            await here.stop()  # what is under way is refused, and so was never answered
            gated.open.set()
            here.start()
            batch = await here.ended(batch_id)
            assert batch["request_counts"] == {"total": 9, "completed": 9, "failed": 0}
            assert list(await here.lines(batch["output_file_id"])) == [f"id-{i}" for i in range(9)]
            assert len(upstream.requests) == 12  # the three under way were asked again


async def test_what_was_settled_of_a_batch_stays_so(tmp_path: Path) -> None:
    async with (
        raw_upstream(serve_completions) as upstream,
        place(settings_for(provider(upstream.base_url)), tmp_path) as here,
    ):
        await here.batching.runner.finish(0.0)
        batch_id = await here.create(line("id-0"), line("id-1"))
        await here.change(batch_id, status="finalizing", ends_as="expired", total=2)
        await here.restart()
        batch = await here.ended(batch_id)
        assert batch["status"] == "expired"
        assert len(await here.lines(batch["error_file_id"])) == 2
        assert upstream.requests == []


async def test_one_worker_of_a_machine_works_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "LOOK", 0.05)
    async with (
        raw_upstream(serve_completions) as upstream,
        place(settings_for(provider(upstream.base_url)), tmp_path) as here,
    ):
        await here.ended(await here.create(line("id")))
        first = here.batching
        assert first.runner._lock is not None
        here.start()
        batch_id = await here.create(line("id"))  # told to the second alone
        await here.ended(batch_id)
        assert here.batching.runner._lock is None
        await first.runner.finish(1.0)
        await first.close()
        await here.ended(await here.create(line("id")))
        assert here.batching.runner._lock is not None


async def test_a_file_with_faults_is_not_begun(tmp_path: Path) -> None:
    async with (
        raw_upstream(serve_completions) as upstream,
        place(settings_for(provider(upstream.base_url)), tmp_path) as here,
    ):
        batch = await here.ended(await here.create(line("a"), line("a"), b"{"))
        assert batch["status"] == "failed"
        assert [(each["line"], each["code"]) for each in batch["errors"]["data"]] == [
            (2, "duplicate_custom_id"),
            (3, "invalid_json_line"),
        ]
        assert batch["output_file_id"] is None
        assert batch["error_file_id"] is None
        assert upstream.requests == []


async def test_answers_take_no_more_room_than_there_is(tmp_path: Path) -> None:
    async with raw_upstream(serve_completions) as upstream:
        settings = with_batches(settings_for(provider(upstream.base_url)), organization_bytes=8_000, concurrency=1)
        async with place(settings, tmp_path) as here:
            batch = await here.ended(await here.create(*[line(f"id-{i}") for i in range(40)]))
            assert batch["status"] == "failed"
            assert batch["errors"]["data"][0]["code"] == "storage_quota_exceeded"
            done = batch["request_counts"]["completed"]
            assert 1 <= done < 40
            assert len(upstream.requests) == done


async def test_live_requests_go_before_lines(tmp_path: Path) -> None:
    gated = Gated()
    async with raw_upstream(gated) as upstream:
        settings = settings_for(provider(upstream.base_url, concurrency=Concurrency(min=1, initial=1, max=1)))
        async with place(settings, tmp_path) as here:
            live = asyncio.create_task(here.ask("POST", "/chat/completions", orjson.dumps(line("x", "live")["body"]),
                                                "content-type: application/json"))  # fmt: skip
            await upstream.until(lambda: gated.waiting == 1)
            batch_id = await here.create(line("id"))
            await here.until(batch_id, lambda batch: batch["status"] == "in_progress")
            target = here.gateway.runtime.router.routes["m"].targets[0]
            assert target.limit is not None
            assert len(target.limit.room) == 0  # the line isn't even in its queue
            gated.open.set()
            assert (await live).status == 200
            assert (await here.ended(batch_id))["status"] == "completed"
            assert said(upstream) == ["live", "hello"]


async def test_a_line_that_has_given_way_for_long_waits_with_little_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yielding, "PATIENCE", 0.0)
    gated = Gated()
    async with raw_upstream(gated) as upstream:
        settings = settings_for(provider(upstream.base_url, concurrency=Concurrency(min=1, initial=1, max=1)))
        async with place(settings, tmp_path) as here:
            body, kind = orjson.dumps(line("x", "live")["body"]), "content-type: application/json"
            live = [asyncio.create_task(here.ask("POST", "/chat/completions", body, kind)) for _ in range(2)]
            await upstream.until(lambda: gated.waiting == 1)
            batch_id = await here.create(line("id"))
            limit = here.gateway.runtime.router.routes["m"].targets[0].limit
            assert limit is not None
            async with asyncio.timeout(LONG):
                while len(limit.room) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            waiting = {flow.name: flow.weight for flow in limit.room._queue.waiting}
            assert waiting == {"acme": 1.0, "acme (background)": 0.1}
            gated.open.set()
            assert [(await each).status for each in live] == [200, 200]
            assert (await here.ended(batch_id))["status"] == "completed"


async def test_the_secret_of_a_credential_is_not_kept(tmp_path: Path) -> None:
    async with (
        raw_upstream(serve_completions) as upstream,
        place(settings_for(provider(upstream.base_url)), tmp_path) as here,
    ):
        await here.ended(await here.create(line("id")))
        await here.stop()
        kept = b"".join(path.read_bytes() for path in (tmp_path / "batches").rglob("*") if path.is_file())
        assert kept
        assert KEY.encode() not in kept
        here.start()
