"""Text released token by token."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.local.text import HeldText, Released


def test_a_stop_string_across_pieces_is_never_shown() -> None:
    held = HeldText(["STOP"])
    assert held.feed(b"one S") == Released("one ")
    assert held.feed(b"TO") == Released("")
    assert held.feed(b"P two") == Released("", "STOP", " two")


def test_what_only_looked_like_a_stop_is_shown() -> None:
    held = HeldText(["STOP"])
    assert held.feed(b"ST") == Released("")
    assert held.feed(b"x") == Released("STx")
    assert held.feed(b"S") == Released("")
    assert held.finish() == Released("S")


def test_a_character_in_two_tokens_comes_whole() -> None:
    held = HeldText([])
    first, second = "é".encode()[:1], "é".encode()[1:]
    assert held.feed(first) == Released("")
    assert held.feed(second) == Released("é")


def test_the_earliest_of_several_marks_wins() -> None:
    assert HeldText(["b", "a"]).feed(b"xab") == Released("x", "a", "b")


@given(st.text(alphabet="ab<>", max_size=40), st.lists(st.integers(1, 5), max_size=40))
def test_nothing_is_lost_or_shown_twice(text: str, cuts: list[int]) -> None:
    held = HeldText(["<ab>"])
    shown, position = "", 0
    expected = text.split("<ab>")[0]
    for cut in [*cuts, len(text)]:
        released = held.feed(text[position : position + cut].encode())
        shown += released.text
        position += cut
        if released.matched:
            assert shown == expected
            return
    assert shown + held.finish().text == text == expected
