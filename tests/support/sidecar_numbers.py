"""Numbers of a sidecar in which every metric has a sample."""

from __future__ import annotations

from gateway.sidecar.histogram import Histogram
from gateway.sidecar.ingest import IngestState
from gateway.sidecar.metrics import Numbers, Stored


def numbers() -> Numbers:
    """As if it had run for a while over Redis."""
    state = IngestState()
    state.entries, state.lag_bytes, state.stream_pending, state.source = 5, 7, 8, "stream"
    timed = Histogram()
    timed.add(0.1)
    return Numbers(
        ingestion=state,
        batches=timed,
        calculated={"openai": 4},
        rerated=1,
        requests={("llm_cost_ops", "GET", 200): 3},
        durations={"llm_cost_ops": timed},
        listeners=2,
        told={"usage": 6},
        missed=9,
        noticed={"forecast.generated": 10},
        subscribers=1,
        stored=Stored({("openai", "new"): 2}, 1),
    )
