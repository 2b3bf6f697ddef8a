from __future__ import annotations

import json

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from gateway.plugin.arguments import ArgumentsFilter
from gateway.plugin.scan import MAX_HELD, Pipe, Scanner, TextFilter

PATTERNS = [
    r"a+(?:-b+)?",
    r"(?<![\w.])\w{1,5}@\w+(?:\.\w{2,4}){1,3}(?![\w@])",
    r"\b\d{3}(?!\d)",
    r"(?<!\w)(?:foo|foobar|ob)(?!\w)",
    r"\d(?:[ -]?\d){3,5}(?!\d)",
    r"x(?=yz)",
    r"ab\Z",
    r"(?:ab){2,3}|abc",
]
WORDS = st.sampled_from(
    ["a", "b", "-", "ab", "a@b.cc", "foo", "foobar", "123", "1 2-3", "xyz", "x", " ", ".", "é", "_", "\n"]
)
TEXTS = st.lists(WORDS, max_size=12).map("".join)
CUTS = st.lists(st.integers(1, 4), min_size=1, max_size=8)


def bracket(match: regex.Match[str]) -> tuple[int, str]:
    return match.end(), f"<{match.group()}>"


def pieces(text: str, cuts: list[int]) -> list[str]:
    out, start, turn = [], 0, 0
    while start < len(text):
        size = cuts[turn % len(cuts)]
        out.append(text[start : start + size])
        start, turn = start + size, turn + 1
    return out


def in_pieces(text_filter: TextFilter, text: str, cuts: list[int]) -> str:
    return "".join([text_filter.feed(piece) for piece in pieces(text, cuts)]) + text_filter.flush()


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=TEXTS, cuts=CUTS)
def test_pieces_give_what_the_whole_gives(pattern: str, text: str, cuts: list[int]) -> None:
    scanner = Scanner([pattern])
    expected = regex.sub(pattern, lambda match: f"<{match.group()}>", text)
    assert scanner.sub(text, bracket) == expected
    assert in_pieces(scanner.filter(bracket), text, cuts) == expected


@given(text=TEXTS, cuts=CUTS, chosen=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=4, unique=True))
def test_several_patterns_together_too(text: str, cuts: list[int], chosen: list[str]) -> None:
    scanner = Scanner(chosen)
    assert in_pieces(scanner.filter(bracket), text, cuts) == scanner.sub(text, bracket)


def test_only_what_can_still_match_is_held_back() -> None:
    scan = Scanner([r"secret \d{2}", r"<X_\d+>"]).filter(bracket)
    assert scan.feed("tell me a sec") == "tell me a "
    assert scan.feed("ond ") == "second "
    assert scan.feed("a <b> <") == "a <b> "
    assert scan.feed("X_1") == ""
    assert scan.feed(">!") == "<<X_1>>!"


def test_what_is_held_back_is_bounded() -> None:
    scan = Scanner([r"x[a-z]+!"]).filter(bracket)
    out = scan.feed("x" + "a" * 100)
    for _ in range(100):
        out += scan.feed("a" * 100)
        assert len(scan._buffer) <= MAX_HELD + 64
    assert out + scan.flush() == "x" + "a" * 10_100


def test_a_long_text_is_searched_in_slices_with_the_same_result() -> None:
    text = ("word 123 " * 40_000) + "foo"
    assert Scanner([r"\b\d{3}(?!\d)", "foo"]).sub(text, bracket) == ("word <123> " * 40_000) + "<foo>"


def test_a_declined_match_goes_on_one_character_further() -> None:
    scanner = Scanner([r"\d\d"])
    assert scanner.sub("1234", lambda match: (match.end(), "#") if match.group() == "23" else None) == "1#4"


@pytest.mark.parametrize("pattern", ["(", "a*", "", "x{2,1}"])
def test_an_unusable_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="regular expression"):
        Scanner([pattern])


def test_a_search_that_takes_too_long_is_ended() -> None:
    scanner = Scanner([r"(?:a|aa|a.)+!b"], timeout=0.05)
    with pytest.raises(TimeoutError):
        scanner.sub("a" * 60 + "!", bracket)


@given(text=TEXTS, cuts=CUTS)
def test_a_pipe_is_its_filters_in_turn(text: str, cuts: list[int]) -> None:
    first, second = Scanner(["foo|ab"]), Scanner([r"<a|\d<"])
    expected = second.sub(first.sub(text, bracket), bracket)
    assert in_pieces(Pipe(first.filter(bracket), second.filter(bracket)), text, cuts) == expected


# Arguments: JSON text in pieces.

AWKWARD = st.text(st.sampled_from('ab1"\\/\n\té😀\u2028{}[]:, '), max_size=12)
JSON = st.recursive(
    AWKWARD | st.integers(0, 10**9) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(AWKWARD, inner, max_size=3),
    max_leaves=6,
)


def arguments(pattern: str, replacement: str) -> ArgumentsFilter:
    scanner = Scanner([pattern])
    return ArgumentsFilter(lambda: scanner.filter(lambda match: (match.end(), replacement)))


@given(value=JSON, ascii_only=st.booleans(), cuts=CUTS)
def test_json_is_the_same_value_where_nothing_matches(value: object, ascii_only: bool, cuts: list[int]) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert json.loads(in_pieces(arguments("zzz", "!"), text, cuts)) == value


@given(value=JSON, ascii_only=st.booleans(), cuts=CUTS)
def test_json_stays_valid_whatever_is_put_in(value: object, ascii_only: bool, cuts: list[int]) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    out = in_pieces(arguments(r'a|"|\\|\n|😀|\d+', '"\\\n'), text, cuts)
    json.loads(out)
    assert out == in_pieces(arguments(r'a|"|\\|\n|😀|\d+', '"\\\n'), text, [len(text) + 1])


@given(text=st.text(st.sampled_from('a"\\u0d8{}1.- \n'), max_size=30), cuts=CUTS)
def test_broken_json_passes_in_pieces_as_whole(text: str, cuts: list[int]) -> None:
    out = in_pieces(arguments("zzz", "!"), text, cuts)
    assert out == in_pieces(arguments("zzz", "!"), text, [len(text) + 1])
    out.encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'{"to":"joe\u0040x"}', '{"to":"<1>"}'),
        (r'{"to":"\njoe@x"}', r'{"to":"\n<1>"}'),
        ('{"n": 4111, "s": "4111", "f": 1.5}', '{"n": "<1>", "s": "<1>", "f": 1.5}'),
        (r'{"s":"\ud83d\ude00 \ud83d x"}', r'{"s":"😀 \ud83d x"}'),
        (r'{"bad":"\x joe@x', r'{"bad":"\x <1>'),
        ("[" + "9" * 200 + "]", "[" + "9" * 200 + "]"),
    ],
)
def test_examples_of_arguments(text: str, expected: str) -> None:
    for size in (1, 2, 3, 1000):
        assert in_pieces(arguments(r"joe@x|\b4111\b", "<1>"), text, [size]) == expected
