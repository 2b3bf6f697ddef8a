from __future__ import annotations

import hashlib
import struct
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.routing import default, weights
from gateway.routing.features import ROWS
from gateway.routing.model import Model
from gateway.routing.panel import Panel
from gateway.routing.weights import WeightsFault


def tiny() -> Model:
    """One set, one task, one model."""
    one = np.ones(1, np.float32)
    none, square = np.zeros(1, np.int64), np.full((1, 1), 0.5, np.float32)
    return Model(
        models=("m",), sets=("s",), tasks=("t",), table=np.zeros((ROWS, 3), np.int8), steps=np.ones(3, np.float32),
        intercepts=np.zeros(3, np.float32), trust=one, home=none, expert_set=none, expert_model=none,
        rate=square, likely=square, seen=square, tokens=square, tier_ability=np.zeros(4, np.float32), difficulty=one,
        about={"sets": "s"},
    )  # fmt: skip


WHOLE = weights.dump(tiny())


def sealed(content: bytes) -> bytes:
    """Content with a true checksum."""
    return content + hashlib.sha256(content).digest()


def test_what_is_read_is_what_was_written(model: Model, tmp_path: Path) -> None:
    weights.save(model, tmp_path / weights.NAME)
    read = weights.load(tmp_path)
    for field in fields(Model):
        left, right = getattr(model, field.name), getattr(read, field.name)
        assert np.array_equal(left, right) if isinstance(left, np.ndarray) else left == right, field.name
    assert [each.name for each in tmp_path.iterdir()] == [weights.NAME]


def test_the_same_model_is_the_same_bytes() -> None:
    assert weights.dump(tiny()) == WHOLE


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused(place: int, by: int) -> None:
    changed = bytearray(WHOLE)
    changed[place] ^= by
    with pytest.raises(WeightsFault, match=r"^weights: expected"):
        weights.parse(bytes(changed))


@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_short_is_refused(length: int) -> None:
    with pytest.raises(WeightsFault, match=r"^weights: expected"):
        weights.parse(WHOLE[:length])


@given(st.binary(max_size=300))
@settings(max_examples=50)
def test_what_is_no_weights_is_refused(content: bytes) -> None:
    with pytest.raises(WeightsFault, match="expected a router's weights"):
        weights.parse(content)


def test_a_foreign_version_is_named() -> None:
    foreign = WHOLE[:8] + struct.pack("<I", 7) + WHOLE[12:]
    with pytest.raises(WeightsFault, match="found version 7; train them anew"):
        weights.parse(foreign)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"table": np.zeros((ROWS - 1, 3), np.int8)}, "table has the shape"),
        ({"home": np.array([1])}, "home names what is not there"),
        ({"expert_model": np.array([-1])}, "expert_model names what is not there"),
        ({"trust": np.array([np.nan], np.float32)}, "trust holds what is not a number"),
        ({"tasks": ("t", "u")}, "table has the shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(WeightsFault, match=why):
        weights.parse(weights.dump(replace(tiny(), **change)))  # type: ignore[arg-type]


def test_a_header_that_promises_other_arrays_is_refused() -> None:
    bare = WHOLE[:-32]
    with pytest.raises(WeightsFault, match="expected whole weights"):
        weights.parse(sealed(bare.replace(b'"steps":[3]', b'"steps":[4]')))
    with pytest.raises(WeightsFault, match="expected whole weights"):
        weights.parse(sealed(bare.replace(b'"steps":[3]', b'"steps":[2]')))


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsFault, match=r"router\.weights: expected a router's weights: No such file"):
        weights.load(tmp_path)


def test_the_shipped_weights_are_whole_and_carry_their_card() -> None:
    model = default.load()
    assert "llmrouter" not in model.about["sets"]
    view = Panel(model, model.models)("What is 2 + 2?")
    assert all(0.0 < quality.probability < 1.0 for quality in view.qualities)
    card = (default.FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    for name in model.about["sets"].split(", "):
        assert name in card
    assert model.about["prompts"] in card.replace(",", "")
