"""``x-gateway-timeout``: what may stand in it, and that it only ever shortens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.deadlines import tighter, wanted_timeouts
from gateway.kernel.errors import GatewayError
from gateway.settings.model import Timeouts

DAY = 86_400.0


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"30", Timeouts(connect=DAY, first_token=DAY, stall=DAY, total=30)),
        (b" 0.25 ", Timeouts(connect=DAY, first_token=DAY, stall=DAY, total=0.25)),
        (b"first_token=5, total=30", Timeouts(connect=DAY, first_token=5, stall=DAY, total=30)),
        (b"connect=1,stall = 2.5", Timeouts(connect=1, first_token=DAY, stall=2.5, total=DAY)),
    ],
)
def test_what_is_meant(value: bytes, wanted: Timeouts) -> None:
    assert wanted_timeouts(value) == wanted


@given(st.binary(max_size=60) | st.text("0123456789=., conetfirs_kal", max_size=40).map(str.encode))
def test_anything_else_is_refused_by_name(value: bytes) -> None:
    refusal = None
    try:
        wanted = wanted_timeouts(value)
        assert all(0 < seconds <= DAY for seconds in (wanted.connect, wanted.first_token, wanted.stall, wanted.total))
    except GatewayError as error:
        refusal = error
    if refusal is not None:
        assert (refusal.code, refusal.field) == ("invalid_timeout", "x-gateway-timeout")
        assert len(refusal.message) < 400


SECONDS = st.floats(0.001, DAY)
TIMEOUTS = st.builds(Timeouts, connect=SECONDS, first_token=SECONDS, stall=SECONDS, total=SECONDS)


@given(TIMEOUTS, TIMEOUTS)
def test_the_shorter_of_each_holds(provider: Timeouts, wanted: Timeouts) -> None:
    both = tighter(provider, wanted)
    for name in ("connect", "first_token", "stall", "total"):
        assert getattr(both, name) == min(getattr(provider, name), getattr(wanted, name))
