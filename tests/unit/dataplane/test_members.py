"""What members.c vouches for is what msgspec reads; what it can't vouch for it leaves alone."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.dataplane import body as bodies
from gateway.kernel.errors import GatewayError
from tests.support.written_in_c import built

Members = Callable[[bytes], tuple[bool, list[tuple[str, int, int]]] | None]

BLOCK = 64
ESCAPES = [
    '\\"',
    "\\\\",
    "\\/",
    "\\b",
    "\\f",
    "\\n",
    "\\r",
    "\\t",
    "\\u0041",
    "\\uFFFF",
    "\\ud83d\\uDE00",
    "\\udbff\\udfff",
]
NO_ESCAPES = [
    "\\q",
    "\\a",
    "\\0",
    "\\N",
    "\\'",
    "\\\x00",
    "\\\x7f",
    "\\\u00e9",
    "\\u12g4",
    "\\u12G4",
    "\\u 123",
    "\\u12",
    "\\u",
    "\\x41",
    "\\ud800",
    "\\ud83dx",
    "\\ud83d\\n",
    "\\ud83d\\u0041",
    "\\udc00",
    "\\ud83d\\ud83d",
    "\\ud83d\\\\u0041",
    "\\uD83D\\uDE00\\uDE00",
]
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Members:
    told = Path("/proc/cpuinfo")  # of Linux
    if platform.machine() != "x86_64" or (told.exists() and "avx2" not in told.read_text()):
        pytest.skip("this processor has no AVX2, and the gateway no such module on it")
    found: Members = built("gateway/dataplane/members.c", tmp_path_factory.mktemp("built")).members
    return found


def read(members: Members, raw: bytes) -> dict[str, bytes] | None:
    """What is vouched for."""
    found = members(raw)
    if found is None:
        return None
    is_ascii, places = found
    if is_ascii:
        assert raw.isascii()
    return {name: raw[start:end] for name, start, end in places}


def as_msgspec(raw: bytes) -> dict[str, bytes] | None:
    """What must be read where anything is."""
    try:
        raw.decode()
        return {name: bytes(value) for name, value in _fields(raw).items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def agree(members: Members, raw: bytes) -> bool:
    """Whether something was vouched for; what was, is what msgspec says too, if the text is one."""
    found = read(members, raw)
    if found is None:
        return False
    assert found == {name: bytes(value) for name, value in _fields(raw).items()}
    return as_msgspec(raw) is not None


def test_a_prompt_of_a_document(members: Members) -> None:
    text = "".join(f'Clause {n}: the "Supplier" shall,\n\twithin {n} days, \u00e9' for n in range(2_000))
    for ensure_ascii in (True, False):
        document = {"model": "m", "messages": [{"role": "user", "content": text}], "n": 1, "stream": None}
        raw = json.dumps(document, ensure_ascii=ensure_ascii).encode()
        assert read(members, raw) == as_msgspec(raw)
        assert members(raw)[0] is ensure_ascii  # type: ignore[index]


@pytest.mark.parametrize("escape", ESCAPES)
def test_an_escape_anywhere_in_a_block(members: Members, escape: str) -> None:
    for before in range(2 * BLOCK + 2):
        for after in (0, 1, BLOCK - 1, BLOCK, 3 * BLOCK):
            raw = b'{"a":"%b","b":2}' % ("x" * before + escape + "x" * after).encode()
            assert agree(members, raw), raw


@pytest.mark.parametrize("escape", NO_ESCAPES)
def test_what_is_no_escape_anywhere_in_a_block(members: Members, escape: str) -> None:
    for before in range(2 * BLOCK + 2):
        for after in (0, 1, 8, BLOCK):
            raw = b'{"a":"%b","b":2}' % ("x" * before + escape + "x" * after).encode()
            assert read(members, raw) is None, raw


def test_runs_of_backslashes(members: Members) -> None:
    for before in range(BLOCK + 2):
        for many in range(1, BLOCK + 4):
            raw = b'{"a":"%b","b":"n"}' % (b"x" * before + b"\\" * many + b"n")
            assert agree(members, raw) is (as_msgspec(raw) is not None), raw
            raw = b'{"a":"%b","b":"n"}' % (b"x" * before + b"\\" * many)
            assert agree(members, raw) is (as_msgspec(raw) is not None), raw


def test_every_byte_in_a_string_and_behind_a_backslash(members: Members) -> None:
    for before in (0, 30, 31, 32, 62, 63, 64, 100):
        for byte in range(256):
            raw = b'{"a":"%b%c%b"}' % (b"x" * before, byte, b"y" * 70)
            agree(members, raw)
            assert (members(raw) is None) is (byte < 32 or byte in b'"\\'), raw
            raw = b'{"a":"%b\\%c%b"}' % (b"x" * before, byte, b"y" * 70)
            assert (read(members, raw) is None) is (byte not in b'"\\/bfnrt'), raw


def test_what_ends_too_early(members: Members) -> None:
    whole = json.dumps({"a": "x" * 130 + '\n"\u20ac', "b": [1.5e-3, {"c": True, "": None}], "d": False}).encode()
    assert agree(members, whole)
    for size in range(len(whole)):
        assert members(whole[:size]) is None
        assert members(whole[:size] + b"\x00") is None


@pytest.mark.parametrize("number", ["0", "-0", "7", "10", "1.5", "0.10", "-1e5", "1E+5", "2e-07", "9" * 400, "1e400"])
def test_numbers(members: Members, number: str) -> None:
    assert read(members, b'{"a":%b}' % number.encode()) == {"a": number.encode()}
    assert read(members, b'{"a":[%b , %b]}' % (number.encode(), number.encode())) is not None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "1.e5",
        "0x1",
        "--1",
        "1_0",
        "NaN",
        "Infinity",
        "-Infinity",
        "tru",
        "nulL",
        "True",
        "'a'",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{1:2}",
        '{"a"}',
        '{"a":}',
        '{"a":1,}',
        '{"a" 1}',
        '{"a":1]',
        "{,}",
        "]",
        "1,",
    ],
)
def test_what_is_no_value(members: Members, value: str) -> None:
    assert members(b'{"a":%b}' % value.encode()) is None
    assert members(b'{"a":[0,{"b":%b}]}' % value.encode()) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"1",
        b"[]",
        b'"a"',
        b"{",
        b"{}",
        b"{ }",
        b'{"a":1}}',
        b'{"a":1}x',
        b'{"a":1},',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":1}\x00',
        b'{"\\u0061":1}',
        b'{"\xc3\xa9":1}',
        b'{"a\\"b":1}',
        b"{a:1}",
        b'{"a":1 "b":2}',
        b'{"a":1,,"b":2}',
        b'{"a"}',
        b'{"a":1;"b":2}',
    ],
)
def test_what_is_left_to_msgspec(members: Members, raw: bytes) -> None:
    assert members(raw) is None


def test_spaces_and_repeated_names(members: Members) -> None:
    raw = b' \n\r\t{ "a" : 1 , "b"\t:\n[ ] , "c" : { } ,"a":"2" } \n'
    assert agree(members, raw)
    assert read(members, raw) == {"a": b'"2"', "b": b"[ ]", "c": b"{ }"}
    for other in (b"\x0b", b"\x0c", b"\xa0"):
        assert members(b'{"a":' + other + b"1}") is None


def test_depth(members: Members) -> None:
    for depth in (1, 2, 63, 64):
        assert agree(members, b'{"a":' + b"[" * depth + b"]" * depth + b"}")
        assert agree(members, b'{"a":' + b'{"b":[' * (depth // 2) + b"]}" * (depth // 2) + b',"c":1}') is (depth > 1)
    for depth in (66, 100, 100_000):  # innermost ones that are empty count as no container
        assert members(b'{"a":' + b"[" * depth + b"]" * depth + b"}") is None


def test_only_bytes_are_read(members: Members) -> None:
    for other in (bytearray(b'{"a":1}'), memoryview(b'{"a":1}'), '{"a":1}', None):
        with pytest.raises(TypeError, match="expected bytes"):
            members(other)  # type: ignore[arg-type]


PIECE = st.one_of(
    st.integers(0, 140).map(lambda size: "x" * size),
    st.sampled_from(ESCAPES),
    st.sampled_from(["\u00e9", "\u6f22\u5b57", "\U0001f600", "\x7f", "'", "/"]),
)
STRING = st.lists(PIECE, max_size=8).map(lambda pieces: '"' + "".join(pieces) + '"')
SPELT = st.recursive(
    st.one_of(STRING, st.sampled_from(["0", "-1.5e+3", "true", "false", "null", "12345678901234567890"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda values: "[" + " ,".join(values) + "]"),
        st.lists(st.tuples(STRING, inner), max_size=4).map(
            lambda pairs: "{" + ",\n".join(f"{name}: {value}" for name, value in pairs) + "}"
        ),
    ),
    max_leaves=8,
)
DOCUMENT = st.lists(st.tuples(st.text("abmodel_-", max_size=70), SPELT), min_size=1, max_size=5).map(
    lambda pairs: ("{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "}").encode()
)


@given(DOCUMENT)
def test_every_document_is_vouched_for(members: Members, raw: bytes) -> None:
    assert agree(members, raw)


@given(DOCUMENT, st.data())
def test_a_damaged_document_is_read_as_msgspec_reads_it_or_not(
    members: Members, raw: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(raw)))
    bad = data.draw(st.binary(max_size=3) | st.text('"\\u0dD8{}[]:, \n', max_size=3).map(str.encode))
    gone = data.draw(st.integers(0, 3))
    agree(members, raw[:at] + bad + raw[at + gone :])


@given(st.binary(max_size=200))
@example(b'{"a":"\xff"}')
def test_any_bytes(members: Members, raw: bytes) -> None:
    agree(members, raw)
    agree(members, b'{"a":"' + raw + b'"}')


@given(DOCUMENT, st.binary(max_size=2), st.data())
def test_a_large_body_is_read_as_a_small_one(members: Members, raw: bytes, bad: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(raw)))
    large = b'{"large":"' + b"x" * bodies.LARGE + b'",'
    with pytest.MonkeyPatch.context() as patch:
        if isinstance(bodies.decode, FunctionType):  # compiled, it has a module of its own
            patch.setattr(bodies, "members", members)
        for one in (large + raw[1:], large + raw[1:at] + bad + raw[at:]):
            try:
                found = {name: bytes(value) for name, value in bodies.decode(one).items()}
            except GatewayError as error:
                assert error.code == "invalid_json"  # noqa: PT017
                assert as_msgspec(one) is None
            else:
                assert found == as_msgspec(one)
