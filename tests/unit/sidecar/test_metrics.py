"""What the sidecar counts and how it is told, alone and to the worker in front."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace
from prometheus_client import Metric

from gateway.contract import scrape
from gateway.dataplane.beside import Beside
from gateway.dataplane.exposition import families as with_data_plane
from gateway.dataplane.snapshots import Snapshot
from gateway.domain.ledger.model import PoisonEntry
from gateway.settings.model import Settings
from gateway.sidecar.app import create_app
from gateway.sidecar.exposition import families, packed, text_of
from gateway.sidecar.histogram import SECONDS, Histogram
from gateway.sidecar.metrics import Measured, Numbers, Stored
from gateway.sidecar.parts import opened
from gateway.store.engine import Store
from tests.support.scraped import Scraped, written
from tests.support.sidecar import MASTER
from tests.support.sidecar_numbers import numbers
from tests.unit.domain.ledger.support import enter, event


def scraped(told: Numbers) -> Scraped:
    """A scrape; both forms must say the same."""
    plain, strict = written(families(told))
    assert {(s.name, *sorted(s.labels.items())): s.value for s in plain.samples} == {
        (s.name, *sorted(s.labels.items())): s.value for s in strict.samples
    }
    return plain


def test_every_number_is_told() -> None:
    found = scraped(numbers())
    assert found.sum("gateway_ingest_entries_total") == 5
    assert found.sum("gateway_ingest_lag_bytes") == 7
    assert found.sum("http_requests_total", reference="llm_cost_ops", method="GET", status="200") == 3
    assert found.sum("cost_calculations_total", provider="openai") == 4
    assert found.sum("gateway_ledger_unpriced_requests", provider="openai", model="new") == 2
    assert found.sum("gateway_live_messages_total", stream="usage") == 6
    assert found.sum("gateway_live_messages_total", stream="costs") == 0
    assert found.sum("gateway_live_messages_total", stream="alerts") == 0
    assert found.sum("gateway_notices_total", event="forecast.generated") == 10
    assert found.sum("gateway_notices_total", event="budget.threshold_exceeded") == 0
    assert found.sum("gateway_ingest_stream_pending") == 8


def test_what_nobody_knows_is_left_out() -> None:
    embedded = numbers()
    embedded.ingestion.source = "files"
    embedded.stored = None
    names = {sample.name for sample in scraped(embedded).samples}
    assert not {name for name in names if "stream" in name.removeprefix("gateway_live_")}
    assert "gateway_ledger_unpriced_requests" not in names
    assert "gateway_ledger_set_aside_lines" not in names


def test_buckets_hold_what_took_no_longer() -> None:
    histogram = Histogram()
    for seconds in (0.0, 0.005, 0.0051, 10.0, 11.0):
        histogram.add(seconds)
    found = scraped(replace(numbers(), batches=histogram))
    name = "gateway_ingest_batch_duration_seconds"
    assert found.sum(f"{name}_bucket", le="0.005") == 2
    assert found.sum(f"{name}_bucket", le=str(SECONDS[-1])) == 4
    assert found.sum(f"{name}_bucket", le="+Inf") == found.sum(f"{name}_count") == 5
    assert found.sum(f"{name}_sum") == pytest.approx(21.0101)


def test_beside_the_data_planes_no_name_stands_twice() -> None:
    more = []
    for family in scrape.decode(packed(numbers())):
        metric = Metric(family.name, family.help, family.type)
        for name, labels, value in family.samples:
            metric.add_sample(name, labels, value)
        more.append(metric)
    together = list(with_data_plane(Snapshot(series={}, counters={}, gauges={}), [("worker-0", 1)], more))
    names = [metric.name for metric in together]
    assert len(set(names)) == len(names)
    found = written(together)[0]
    memory = [s.labels["process"] for s in found.samples if s.name == "process_resident_memory_bytes"]
    assert sorted(memory) == ["sidecar", "worker-0"]
    assert found.sum("gateway_build_info") == 1


def test_the_text_says_what_runs() -> None:
    text, content_type = text_of(numbers(), "")
    assert content_type.startswith("text/plain")
    assert b"gateway_build_info{" in text
    assert b'process_resident_memory_bytes{process="sidecar"}' in text
    assert text_of(numbers(), "application/openmetrics-text")[0].endswith(b"# EOF\n")


async def test_requests_are_counted_by_reference_and_status(tmp_path: Path) -> None:
    async with opened(Settings(data_dir=str(tmp_path / "data")), MASTER) as sidecar:
        transport = httpx.ASGITransport(create_app(sidecar))
        own = {"authorization": f"Bearer {MASTER}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://sidecar", headers=own) as http:
            assert (await http.get("/api/v1/costs")).status_code == 200
            assert (await http.get("/api/v1/costs", params={"group_by": "mood"})).status_code == 422
            assert (await http.request("BREW", "/user/balance")).status_code == 405
            assert (await http.get("/internal/metrics")).status_code == 403
            told = await http.get("/metrics", headers={"authorization": ""})
        assert told.status_code == 200
        assert b'http_requests_total{method="GET",reference="llm_cost_ops",status="422"} 1.0' in told.content
        counted = sidecar.counts.requests
        assert counted["llm_cost_ops", "GET", 200] == 1
        assert counted["gatewayz", "other", 405] == 1
        assert counted["internal", "GET", 403] == 1
        assert sum(sidecar.counts.durations["llm_cost_ops"].counts) == 2


async def test_what_the_database_knows(store: Store) -> None:
    now, long_ago = time.time_ns(), 1_700_000_000 * 10**9
    rows = [
        event(n, target="free", cost_nanos=None, started_ns=at, ended_ns=at) for n, at in enumerate((now, long_ago))
    ]
    await enter(store, *rows, event(2, started_ns=now, ended_ns=now), b"nonsense")
    measured = Measured(store, numbers)
    found = await measured.numbers()
    assert found.stored == Stored({("fake", "free"): 1}, 1)
    # A scrape a second must not be a question a second.
    await store.close()
    assert (await measured.numbers()).stored is found.stored


async def test_a_database_that_is_away_leaves_out_what_it_knows(store: Store) -> None:
    async with store.engine.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE poison_entries")
    assert (await Measured(store, numbers).numbers()).stored is None
    async with store.engine.begin() as connection:
        await connection.run_sync(PoisonEntry.__table__.create)  # type: ignore[attr-defined]


async def test_a_sidecar_that_is_away_costs_its_own_metrics_alone(tmp_path: Path) -> None:
    beside = Beside(f"unix:{tmp_path}/nobody", MASTER)
    (up,) = await beside.families()
    assert [sample.value for sample in up.samples] == [0.0]

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhmm")
        writer.close()

    async with await asyncio.start_unix_server(nonsense, str(tmp_path / "s")):
        other = Beside(f"unix:{tmp_path}/s", MASTER)
        (up,) = await other.families()
        assert [sample.value for sample in up.samples] == [0.0]
        other.close()
