"""The judge finds each way in which a ledger can be wrong, and nothing in one that is right."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.dataplane.counting.client import LONGEST
from tests.faults.kills.judge import Death, Prices, Verdict, is_torn, judge
from tests.faults.kills.ledger import Entry
from tests.faults.kills.traffic import Asked
from tests.faults.kills.upstream import Counting, Served

PRICE = Prices(2, 8)
ATTEMPT = {"provider": "up", "model": "steady", "reason": "ok", "status": 200}
ENTRY = Entry(
    id="req_1",
    kind="usage",
    model="steady",
    started_ns=1,
    status=200,
    outcome="ok",
    requests=1,
    prompt_tokens=100,
    cached_tokens=30,
    completion_tokens=20,
    reasoning_tokens=5,
    estimated=False,
    cost_nanos=360,
    corrects=None,
    tags={"nonce": "n1"},
    attempts=[ATTEMPT],
)
SERVED = Served("steady", prompt=100, cached=30, completion=20, reasoning=5, told=True)
ANSWERED = Asked("n1", "plain", id="req_1", status=200, complete=True, tried=True)
LEFT = Asked("n1", "left stream", id="req_1", status=200, began=10.0, ended=10.2, left=True)
KILLED = Death(10.3, 10.4)


def changed(entry: Entry = ENTRY, **changes: Any) -> Entry:
    """An entry that differs."""
    return msgspec.structs.replace(entry, **changes)


def judged(
    entries: list[Entry],
    asked: Asked = ANSWERED,
    served: Served = SERVED,
    price: Prices = PRICE,
    death: Death = KILLED,
) -> Verdict:
    """The verdict on a ledger of one request."""
    books = Counting(1)
    books.served["n1"] = [served]
    return judge({"n1": asked}, books, entries, {"steady": price}, [death])


def test_a_ledger_that_is_right_has_no_faults() -> None:
    verdict = judged([ENTRY])
    assert verdict.faults == []
    assert (verdict.requests, verdict.answered, verdict.entries, verdict.unrecorded) == (1, 1, 1, 0)
    assert verdict.tokens == {"dispatched": 120, "answered": 120, "ledger": 120}


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ([], "is not in the ledger"),
        ([ENTRY, changed(id="req_2")], "is entered 2 times"),
        ([ENTRY, changed(id="req_2", tags={"nonce": "n9"})], "nobody asked for"),
        ([ENTRY, changed(id="req_2", tags={})], "nobody asked for"),
        ([changed(id="req_2")], "is entered as req_2"),
        ([changed(status=500)], "is entered with status 500"),
        ([changed(attempts=[])], "0 attempts are entered, 1 were made"),
        ([changed(prompt_tokens=101, cost_nanos=362)], "not the provider's numbers"),
        ([changed(cached_tokens=0)], "not the provider's numbers"),
        ([changed(reasoning_tokens=0)], "not the provider's numbers"),
        ([changed(completion_tokens=0, prompt_tokens=0, cost_nanos=0)], "not the provider's numbers"),
        ([changed(estimated=True)], "estimated although"),
        ([changed(cost_nanos=361)], "expected to cost 360"),
        ([changed(cost_nanos=None)], "expected to cost 360"),
        ([changed(completion_tokens=19, cost_nanos=352)], "out of bounds"),
        ([ENTRY, changed(id="rev_1", kind="reversal", corrects="req_1")], "is corrected by ['reversal']"),
        ([ENTRY, changed(id="adj_1", kind="adjustment", corrects="req_0")], "corrected without being there"),
    ],
)
def test_what_is_wrong_is_found(entries: list[Entry], fault: str) -> None:
    assert any(fault in found for found in judged(entries).faults), judged(entries).faults


def test_a_failure_costs_nothing() -> None:
    failed = Served("steady", prompt=0, failed=True)
    free = changed(outcome="error", prompt_tokens=0, cached_tokens=0, completion_tokens=0, reasoning_tokens=0)
    assert judged([msgspec.structs.replace(free, cost_nanos=0)], served=failed).faults == []
    assert any("billed for nothing" in fault for fault in judged([free], served=failed).faults)


def test_a_client_without_an_answer_may_be_unrecorded_but_not_charged_for_more_than_was_sent() -> None:
    cut = Served("steady", prompt=100, completion=12)
    assert judged([], LEFT, cut).unrecorded == 1
    assert judged([], LEFT, cut).faults == []
    estimate = changed(outcome="cancelled", estimated=True, cached_tokens=0, reasoning_tokens=0, completion_tokens=12)
    estimate = changed(estimate, cost_nanos=296)
    assert judged([estimate], LEFT, cut).faults == []
    more = changed(estimate, completion_tokens=40, cost_nanos=520)
    assert any("not what the provider sent" in fault for fault in judged([more], LEFT, cut).faults)


@pytest.mark.parametrize(
    ("left", "death", "right"),
    [
        (True, KILLED, True),
        (True, Death(10.1 + LONGEST, 10.2 + LONGEST), True),
        (True, Death(10.3 + LONGEST, 10.4 + LONGEST), False),
        (True, Death(9.8, 9.9), False),
        (False, KILLED, False),
        (False, Death(10.1, 10.15), True),
        (False, Death(9.8, 10.1), True),
        (False, Death(9.8, 9.9), False),
    ],
)
def test_unrecorded_is_only_what_was_under_way_when_somebody_was_killed(left: bool, death: Death, right: bool) -> None:
    asked = msgspec.structs.replace(LEFT, left=left)
    faults = judged([], asked, Served("steady", prompt=100, completion=12), death=death).faults
    assert ["nobody was killed meanwhile" in fault for fault in faults] == ([] if right else [True])


def test_a_corrected_entry_stands_at_the_new_price() -> None:
    new = Prices(3, 12)
    negated = {name: -getattr(ENTRY, name) for name in ("requests", "prompt_tokens", "completion_tokens", "cost_nanos")}
    reversal = changed(id="rev_1", kind="reversal", corrects="req_1", **negated)
    adjustment = changed(id="adj_1", kind="adjustment", corrects="req_1", cost_nanos=540)
    verdict = judged([ENTRY, reversal, adjustment], price=new)
    assert verdict.faults == []
    assert verdict.corrected == 1
    assert judged([ENTRY], price=new).faults != []
    assert judged([ENTRY, reversal, adjustment, changed(adjustment, id="adj_2")], price=new).faults != []


@pytest.mark.parametrize(
    ("line", "torn"),
    [
        ('{"id":"req_0a", "endp', True),
        ('{"i', True),
        ('{"id":"req_0a"}', False),
        ("\x00\x00\x00", False),
        ('ens":{"prompt":1}}', False),
    ],
)
def test_a_torn_line_is_the_beginning_of_an_event(line: str, torn: bool) -> None:
    assert is_torn(line) is torn
