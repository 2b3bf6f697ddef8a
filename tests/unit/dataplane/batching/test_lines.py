"""The lines of a batch: which can be asked, and how answers are written down."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dataplane.batching.lines import (
    ENDPOINTS,
    MAX_FAULTS,
    Gentle,
    Halted,
    answer_line,
    check_file,
    check_line,
    read_line,
    read_lines,
    spec_of,
    unanswered,
    unanswered_line,
)
from gateway.dataplane.batching.records import Author, Batch, Fault
from gateway.settings.model import Batches

CHAT = "/v1/chat/completions"
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def line_of(**changes: Any) -> dict[str, Any]:
    """A line that can be asked, with the changes given; a None leaves the member out."""
    line = {"custom_id": "a", "method": "POST", "url": CHAT, "body": {"model": "m", "messages": []}, **changes}
    return {name: value for name, value in line.items() if value is not None}


def batch_of(**changes: Any) -> Batch:
    """A batch."""
    return Batch("batch_1", "acme", Author("key", "00"), CHAT, "file-1", 0, 86_400, **changes)


def gentle(*, halted: bool = False) -> Gentle:
    """A thread's manners."""
    halt = Event()
    if halted:
        halt.set()
    return Gentle(halt)


def fault_of(line: dict[str, Any] | bytes) -> Fault | None:
    written = line if isinstance(line, bytes) else orjson.dumps(line)
    return check_line(written, CHAT, {"known"}, 1_000)


def test_a_good_line_has_no_fault() -> None:
    assert fault_of(line_of()) is None
    assert fault_of(line_of(body={"model": "m", "stream": False, "background": None})) is None


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (b"no json", "invalid_json_line", None),
        (b'{"custom_id": "\xff"}', "invalid_json_line", None),
        (b'{"custom_id": "a", "body": ' + b"[" * 100_000, "invalid_json_line", None),
        (b"[]", "invalid_request", None),
        (line_of(custom_id=None), "invalid_request", None),
        (line_of(custom_id=7), "invalid_request", None),
        (line_of(more=1), "invalid_request", None),
        (line_of(custom_id=""), "invalid_custom_id", "custom_id"),
        (line_of(custom_id="x" * 257), "invalid_custom_id", "custom_id"),
        (line_of(custom_id="known"), "duplicate_custom_id", "custom_id"),
        (line_of(method="GET"), "invalid_method", "method"),
        (line_of(url="/v1/embeddings"), "mismatched_endpoint", "url"),
        (line_of(body=[1]), "invalid_body", "body"),
        (line_of(body={"messages": []}), "missing_required_parameter", "body.model"),
        (line_of(body={"model": ""}), "missing_required_parameter", "body.model"),
        (line_of(body={"model": "m", "stream": True}), "unsupported_parameter", "body.stream"),
        (line_of(body={"model": "m", "background": True}), "unsupported_parameter", "body.background"),
    ],
)
def test_a_faulty_line_says_what_is_wrong(line: dict[str, Any] | bytes, code: str, param: str | None) -> None:
    fault = fault_of(line)
    assert fault is not None
    assert (fault.code, fault.param) == (code, param)


def test_a_file_tells_the_lines_of_its_faults(tmp_path: Path) -> None:
    path = tmp_path / "file"
    good, twice = orjson.dumps(line_of()), orjson.dumps(line_of(custom_id="b"))
    path.write_bytes(b"\n".join([good, b"", twice, b"{", twice, b"x" * 2_000]))
    checked = check_file(path, CHAT, Batches(), 1_000, gentle())
    assert [(fault.line, fault.code) for fault in checked.faults] == [
        (4, "invalid_json_line"),
        (5, "duplicate_custom_id"),
        (6, "line_too_long"),
    ]
    path.write_bytes(good + b"\r\n\r\n")
    assert check_file(path, CHAT, Batches(), 1_000, gentle()).total == 1
    path.write_bytes(b"\n\n")
    assert [fault.code for fault in check_file(path, CHAT, Batches(), 1_000, gentle()).faults] == ["empty_file"]


def test_a_file_has_no_more_lines_and_tells_no_more_faults_than_it_may(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"".join(orjson.dumps(line_of(custom_id=str(i))) + b"\n" for i in range(6)))
    assert check_file(path, CHAT, Batches(max_lines=6), 1_000, gentle()).faults == []
    assert [fault.code for fault in check_file(path, CHAT, Batches(max_lines=5), 1_000, gentle()).faults] == [
        "too_many_requests"
    ]
    path.write_bytes(b"{\n" * 1_000)
    assert len(check_file(path, CHAT, Batches(), 1_000, gentle()).faults) == MAX_FAULTS


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.lists(st.sampled_from([b"a", b"bb", b"\n", b"\r\n", b"", b"ccccccc", b" "]), max_size=12))
def test_lines_are_read_as_they_stand(tmp_path: Path, content: list[bytes]) -> None:
    path = tmp_path / "file"
    data = b"".join(content)
    path.write_bytes(data)
    expected = [
        (number, None if len(line.rstrip(b"\r\n")) > 5 else line.strip())
        for number, line in enumerate(data.split(b"\n"))
        if line.strip() or len(line.rstrip(b"\r\n")) > 5
    ]
    found = list(read_lines(path, 5))
    assert [(spot.number, line) for spot, line in found] == expected
    for spot, line in found:
        stored = data[spot.offset : spot.offset + spot.length]
        assert line is None or stored.strip() == line


def test_a_line_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"".join(orjson.dumps(line_of(custom_id=f"é{i}")) + b"\r\n" for i in range(5)))
    assert [read_line(path, spot).custom_id for spot, _ in read_lines(path, 1_000)] == [f"é{i}" for i in range(5)]


@given(body=JSON, custom_id=st.text(min_size=1, max_size=20), indent=st.booleans())
def test_an_answer_is_one_line_that_holds_it(body: Any, custom_id: str, indent: bool) -> None:
    written = orjson.dumps(body, option=orjson.OPT_INDENT_2 if indent else 0)
    line = answer_line(batch_of(), 3, custom_id, 200, "req_1", written)
    assert line.count(b"\n") == 1
    assert b"\r" not in line
    assert orjson.loads(line) == {
        "id": "batch_req_1_3",
        "custom_id": custom_id,
        "response": {"status_code": 200, "request_id": "req_1", "body": body},
        "error": None,
    }


@pytest.mark.parametrize("body", [b"", b"<html>\n</html>", b'{"a": \xff}', b'{"a": 1} x', b"{" * 3])
def test_an_answer_that_is_no_json_becomes_a_text(body: bytes) -> None:
    line = orjson.loads(answer_line(batch_of(), 0, "a", 502, "req_1", body))
    assert line["response"]["body"] == body.decode("utf-8", "replace")


def test_numbers_are_written_as_they_came() -> None:
    assert b'"body":{"a":1.0,"b":1e400,"c":123456789012345678901234567890}' in answer_line(
        batch_of(), 0, "a", 200, "r", b'{"a":1.0,"b":1e400,"c":123456789012345678901234567890}'
    )


@pytest.mark.parametrize("ending", ["expired", "cancelled", "failed"])
def test_a_line_without_an_answer_says_why(ending: Any) -> None:
    batch = batch_of(ends_as=ending, faults=[Fault("insufficient_quota", "The budget is spent.")])
    line = orjson.loads(unanswered_line(batch, 1, "a"))
    assert (line["custom_id"], line["response"], line["error"]["code"]) == ("a", None, f"batch_{ending}")
    assert ("The budget is spent." in line["error"]["message"]) == (ending == "failed")


def test_every_endpoint_is_one_of_inference() -> None:
    assert [spec_of(endpoint).name for endpoint in ENDPOINTS] == [
        "chat.completions",
        "responses",
        "embeddings",
        "completions",
    ]


@given(answered=st.sets(st.integers(0, 9)))
def test_only_lines_without_an_answer_are_left(tmp_path_factory: pytest.TempPathFactory, answered: set[int]) -> None:
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(b"a\n\n" * 5)
    left = [spot.number for spot in unanswered(path, 10, sorted(n for n in answered if n % 2 == 0), gentle())]
    assert left == [number for number in range(0, 10, 2) if number not in answered]


def test_work_in_a_thread_can_be_given_up(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"".join(orjson.dumps(line_of(custom_id=str(i))) + b"\n" for i in range(20_000)))
    with pytest.raises(Halted):
        check_file(path, CHAT, Batches(), 1_000, gentle(halted=True))
