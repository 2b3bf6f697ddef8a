"""The form a file comes in, however it is cut into pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane.batching.form import Form
from gateway.kernel.errors import GatewayError

TYPE = "multipart/form-data; boundary=b"


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    """One part."""
    more = "" if filename is None else f'; filename="{filename}"'
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\nContent-Type: text/plain\r\n\r\n'
    return head.encode() + value + b"\r\n"


END = b"--b--\r\n"
WHOLE = (
    part("purpose", b"batch")
    + part("expires_after[anchor]", b"created_at")
    + part("file", b'{"a": "--b"}\r\n--', "Gr\u00fc\u00dfe.jsonl")
    + part("expires_after[seconds]", b"3600")
    + END
)


@given(cuts=st.lists(st.integers(0, len(WHOLE)), max_size=8))
def test_a_form_is_read_wherever_it_is_cut(cuts: list[int]) -> None:
    form = Form(TYPE)
    borders = [0, *sorted(cuts), len(WHOLE)]
    taken = b""
    for start, end in pairwise(borders):
        form.feed(WHOLE[start:end])
        taken += form.taken()
    assert form.is_complete
    assert taken == b'{"a": "--b"}\r\n--'
    assert form.size == len(taken)
    assert form.filename == "Gr\u00fc\u00dfe.jsonl"
    assert form.fields == {
        "purpose": "batch",
        "expires_after[anchor]": "created_at",
        "expires_after[seconds]": "3600",
    }


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (part("file", b"1", "a") + part("file", b"2", "b"), "duplicate_parameter", "file"),
        (part("purpose", b"batch") * 2, "duplicate_parameter", "purpose"),
        (part("model", b"x"), "unknown_parameter", "model"),
        (part("purpose", b"x" * 2_000), "invalid_multipart", None),
        (b"--b\r\nX-Long: " + b"x" * 9_000, "invalid_multipart", None),
        (b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END, "invalid_multipart", None),
        (b"nonsense", "invalid_multipart", None),
    ],
)
def test_a_form_that_is_wrong_is_refused(body: bytes, code: str, field: str | None) -> None:
    with pytest.raises(GatewayError) as raised:
        Form(TYPE).feed(body)
    assert (raised.value.code, raised.value.field) == (code, field)


@pytest.mark.parametrize("given_type", ["application/json", "", "multipart/form-data"])
def test_only_a_form_is_taken(given_type: str) -> None:
    with pytest.raises(GatewayError, match="multipart/form-data"):
        Form(given_type)


def test_a_form_that_breaks_off_is_not_complete() -> None:
    form = Form(TYPE)
    form.feed(WHOLE[:-6])
    assert not form.is_complete
