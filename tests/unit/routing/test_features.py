from __future__ import annotations

import subprocess
import sys
import zlib

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.routing.features import COUNTED, HEAD, ROWS, STEPS, STRUCTURAL, TAIL, WORDS, Features, name_of_count, named

ANY_TEXT = st.text(st.characters(exclude_categories=()))
KNOWN = "How many spikes are on the Statue of Liberty's crown?\nA. five\nB. $7^2$ — größer"


@given(ANY_TEXT)
@example("")
@example(" \n\t")
@example("\ud800")
@example("\x00" * 50)
@example("a" * (HEAD + TAIL + 1))
def test_any_text_has_features_each_once_and_within_bounds(text: str) -> None:
    found = Features()(text)
    assert len(found) >= len(STRUCTURAL)
    assert found.min() >= 0
    assert found.max() < ROWS
    assert len(np.unique(found)) == len(found)
    assert (found >= WORDS).sum() == len(STRUCTURAL)


@given(ANY_TEXT, ANY_TEXT)
def test_what_came_before_leaves_no_trace(before: str, text: str) -> None:
    used = Features()
    used(before)
    assert used(text).tolist() == Features()(text).tolist()


@given(ANY_TEXT)
def test_every_word_and_pair_has_a_name(text: str) -> None:
    numbers = {number for number in Features()(text).tolist() if number < WORDS}
    assert numbers == set(named(text))


def test_the_numbers_are_the_same_everywhere() -> None:
    # Trained weights are of no use where this changes: then the version of the weights' file has to.
    found = np.sort(Features()(KNOWN))
    assert len(found) == 68
    assert zlib.crc32(found.astype("<i8").tobytes()) == 3_641_749_885


def test_the_numbers_are_the_same_in_another_process() -> None:
    code = "import sys; from gateway.routing.features import Features; print(Features()(sys.argv[1]).tolist())"
    done = subprocess.run([sys.executable, "-c", code, KNOWN], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(Features()(KNOWN).tolist())


@given(st.lists(st.sampled_from(["alpha", "Beta", "x1", "naïve", "?", "$", "日本"]), max_size=30))
def test_a_word_is_the_same_wherever_it_stands_and_however_it_is_written(words: list[str]) -> None:
    plain = named(" ".join(words))
    spaced = named("\n\t " + "   ".join(word.upper() if word.isascii() else word for word in words))
    assert set(plain) == set(spaced)


def test_pairs_have_an_order() -> None:
    assert set(named("dog bites man")) != set(named("man bites dog"))


def test_a_long_prompt_is_read_at_both_ends() -> None:
    middle = "middle " * 20_000
    features = Features()
    first, second = (features(f"begin {middle} {end}").tolist() for end in ("sonnet", "lawsuit"))
    assert set(first) != set(second)
    assert len(first) < 200


def test_counts_grow_in_steps_and_are_named() -> None:
    features = Features()
    first = WORDS + STEPS * list(COUNTED).index("question marks")
    found = [
        next(number for number in features("?" * count).tolist() if first <= number < first + STEPS)
        for count in (0, 1, 3, 8, 64, 500)
    ]
    assert found == sorted(set(found))
    assert name_of_count(found[0]) == "no question marks"
    assert name_of_count(found[2]) == f"question marks: {found[2] - first} of 15"
