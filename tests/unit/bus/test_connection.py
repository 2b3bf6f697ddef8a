"""What is told of a lost connection, and how often."""

from __future__ import annotations

import logging

import pytest

from gateway.bus import connection
from gateway.bus.backoff import FIRST, LONGEST, Backoff
from gateway.bus.connection import Hearing


def test_a_loss_is_told_once_until_it_is_found_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told: list[bool] = []
    hearing = Hearing("the sidecar", told.append)
    # The other side starts at the same time.
    hearing.lost(OSError("not yet"))
    for _ in range(2):
        hearing.found()
        hearing.found()
        hearing.lost(OSError("gone"))
        hearing.lost(OSError("gone"))
    hearing.lost(None)
    assert told == [True, False, True, False]
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"] * 2


def test_one_that_never_comes_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(connection, "START_SECONDS", 0.0)
    hearing = Hearing("the sidecar")
    hearing.lost(OSError("gone"))
    hearing.lost(OSError("gone"))
    assert len(caplog.records) == 1
    assert not hearing.connected


def test_who_stops_listening_is_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    told: list[bool] = []
    hearing = Hearing("the sidecar", told.append)
    hearing.found()
    hearing.lost(None)
    assert told == [True, False]
    assert caplog.records == []


def test_pauses_grow_to_a_bound_and_begin_anew() -> None:
    backoff = Backoff()
    for span in (FIRST, FIRST * 2, FIRST * 4):
        assert span / 2 <= backoff.next() <= span
    for _ in range(20):
        assert backoff.next() <= LONGEST
    assert backoff.next() >= LONGEST / 2
    backoff.reset()
    assert backoff.next() <= FIRST
