from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import goals, results, table
from benchmarks.stats import Spread


def found() -> results.Results:
    loads = {name: [results.Load(100, 50.0, 1.0, 2.0, cpu)] for name, cpu in (("nginx", 20.0), ("gateway", 60.0))}
    ratio = {"nginx": Spread(1.0, 1.0, 1.0), "gateway": Spread(3.0, 2.9, 3.2)}
    delay = {"gateway": results.Delay(Spread(0.3, 0.2, 0.4), Spread(3.0, 2.0, 9.0))}
    quick = {"gateway": results.Delay(Spread(0.2, 0.1, 0.4), Spread(0.5, 0.4, 9.0)), "nginx": delay["gateway"]}
    return results.Results(
        made="2025-01-01",
        machine=results.Machine(2, "a processor", "Linux"),
        versions={"nginx": "1.22"},
        closed={"chat": results.Closed(loads, ratio, {"nginx": 4.0, "gateway": 40.0})},
        latency=results.Latency(
            200, 50, 0.4, 1.0, delay, delay, awake=results.Latency(200, 50, 0.2, 1.0, quick, quick)
        ),
        memory=results.Memory({0: 30.0, 20_000: 40.0, 200_000: 43.0}, 3.0),
        crowd=results.Crowd(2000, 60, 1999, 1.0, 5.0, 20.0, 80.0),
    )


def test_results_survive_being_written_and_read(tmp_path: Path) -> None:
    results.write(found(), tmp_path / "results.json")
    assert results.read(tmp_path / "results.json") == found()


def test_a_row_tells_what_was_reached_and_whether_that_is_enough() -> None:
    shares = {row.measure.split(",")[0]: row.share for row in goals.rows(found()) if "awake" not in row.measure}
    assert shares["CPU per governed request"] == pytest.approx(0.75)
    assert shares["added latency at 200 requests a second"] == pytest.approx(1.5)
    assert shares["resident memory of the worker after 200"] == pytest.approx(3.0)
    assert shares["2"] == float("inf")


def test_what_processors_that_sleep_cost_is_a_row_of_its_own() -> None:
    told = table.goals(found())
    assert "| added time to first token, p50 | 0.30 ms | 0.5 ms | 0.2 ms |" in told
    assert "| added time to first token, p50, processors awake | 0.20 (nginx 0.30) ms | 0.5 ms | 0.2 ms |" in told


def test_what_was_not_measured_has_no_row() -> None:
    assert "start to first" not in table.goals(found())
    assert "| CPU per governed request, over nginx's | 3.00× (2.90-3.20) | 4.0× | 3.0× |" in table.goals(found())


def test_the_columns_are_named() -> None:
    assert table.goals(found()).splitlines()[0] == "| measure | reached | goal | stretch goal |"


def test_a_table_replaces_what_stands_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    assert table.put(page, "new")
    assert page.read_text() == "before\n<!-- bench -->\nnew\n<!-- /bench -->\nafter\n"


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("nothing here\n")
    assert not table.put(page, "new")
    assert page.read_text() == "nothing here\n"
