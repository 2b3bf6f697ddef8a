"""Large bodies go upstream in pieces, and hold the same bytes as whole ones."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane import body as bodies

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES, max_size=6))
def test_pieces_are_the_encoded_body(document: dict[str, object]) -> None:
    raw = orjson.dumps(document)
    fields = bodies.decode(raw)
    assert b"".join(bodies.parts(fields)) == bodies.encode(fields)
    assert orjson.loads(b"".join(bodies.parts(fields))) == document


def test_a_large_value_is_not_copied() -> None:
    raw = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 500_000}]})
    fields = bodies.decode(raw)
    largest = max(bodies.parts(fields), key=len)
    assert isinstance(largest, memoryview)
    assert largest.obj is not None
    assert len(largest) > 500_000
