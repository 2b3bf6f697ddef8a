from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from gateway.routing.training import prices
from gateway.routing.training.outcomes import DataFault, question, read
from tests.unit.routing import material


def test_every_file_is_read(data: Path) -> None:
    found = read(data)
    assert (found.sets, found.parts) == (("made", "other"), ("dev", "train"))
    assert found.models == ("middling", "strong", "weak")
    assert len(found) == 1_000
    assert (found.part_of == found.parts.index("dev")).sum() == 200
    assert not np.isnan(found.score).any()
    assert found.tasks == ("algebra", "law@made", "law@other", "poetry@made", "poetry@other")


def test_contaminated_prompts_are_left_out_and_gaps_stay_gaps(tmp_path: Path) -> None:
    rows = material.rows(3, 1)
    rows[0] |= {"contaminated": True}
    for each in rows[1:3]:
        each["contaminated"] = True
    del rows[-1]
    for each in rows:
        each.setdefault("contaminated", False)
    found = read(material.write(tmp_path / "made.parquet", rows).parent)
    assert len(found) == 2
    assert np.isnan(found.score).sum() == 1
    assert found.parts == ("",)


def test_one_question_is_one_group_however_its_options_stand() -> None:
    one = question("What is 2 + 2?\nA. 3\nB. 4\nAnswer:")
    assert one == question("what is 2+2?\nA. four\nB. five\nC. six\nAnswer:")
    assert one != question("What is 2 + 3?\nA. 3\nB. 4\nAnswer:")


def test_what_is_wrong_with_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataFault, match="expected Parquet files with the columns prompt_id"):
        read(tmp_path)
    path = tmp_path / "made.parquet"
    path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataFault, match=r"made\.parquet: expected a Parquet file"):
        read(tmp_path)
    material.write(path, [{"prompt_id": "a", "prompt": "b", "model": "m", "score": 1.0}])
    with pytest.raises(DataFault, match="task missing"):
        read(tmp_path)
    material.write(path, [{"prompt_id": "a", "prompt": "b", "task": "t", "model": "m", "score": 1.5}])
    with pytest.raises(DataFault, match=r"score: expected a number from 0 to 1 for a, found 1\.5"):
        read(tmp_path)
    empty = {name: arrow.array([], arrow.string()) for name in ("prompt_id", "prompt", "task", "model")}
    parquet.write_table(arrow.table(empty | {"score": arrow.array([], arrow.float32())}), path)
    with pytest.raises(DataFault, match="every file is empty"):
        read(tmp_path)


def test_prices_are_listed_or_told_by_size(tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text('{"gpt": {"in": 10, "out": 30, "src": "L"}}')
    found = prices.read(tmp_path)
    assert found.of("gpt") == (10.0, 30.0)
    assert [found.of(name)[0] for name in ("phi-3b", "llama-3.1-8b-instruct", "mixtral-8x7b-v0.1", "some-model")] == [
        0.1,
        0.2,
        0.9,
        0.2,
    ]
    (tmp_path / "prices.json").write_text('{"gpt": {"in": 10}}')
    with pytest.raises(DataFault, match=r"prices\.json: expected \{model"):
        prices.read(tmp_path)


def test_costs_are_those_recorded_else_those_of_the_prompt(data: Path, tmp_path: Path) -> None:
    listed = prices.Prices({"strong": (4.0, 4.0)})
    recorded = read(data)
    assert prices.costs(recorded, listed)[0] == pytest.approx(recorded.cost[0])
    bare = [{key: each[key] for key in each if key != "cost_usd"} for each in material.rows(5, 9)]
    found = read(material.write(tmp_path / "bare.parquet", bare).parent)
    place = found.models.index("strong")
    assert prices.costs(found, listed)[0, place] == pytest.approx(len(found.prompts[0]) / 4 * 4.0 / 1e6)
