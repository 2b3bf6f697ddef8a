"""``gateway usage export --format parquet``: the same entries, row group by row group."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from gateway.cli import exports
from gateway.contract.usage import Tokens
from tests.unit.cli.test_usage import config, enter, event, usage, write

__all__ = ["config"]  # the fixture


def test_parquet_holds_what_json_lines_do(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "ROW_GROUP", 2)
    tokens = Tokens(prompt=100, cache_write=30, cache_write_1h=10, completion=5)
    write(config, event(1, tags={"team": "=a"}), event(2, tokens=tokens), event(3, outcome="error"), event(4), event(5))
    enter(config)
    monkeypatch.setattr("gateway.cli.usage._ROWS", 1)
    output = config.parent / "entries.parquet"
    result = usage(config, "export", "--format", "parquet", "--output", str(output))
    assert result.exit_code == 0, result.output
    file = parquet.ParquetFile(output)
    assert [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)] == [2, 2, 1]
    types = {field.name: str(field.type) for field in file.schema_arrow}
    assert (types["cost_nanos"], types["estimated"], types["units"], types["id"]) == (
        "int64",
        "bool",
        "string",
        "string",
    )
    found = file.read().to_pylist()
    lines = usage(config, "export", "--format", "jsonl", "--output", str(config.parent / "entries.jsonl"))
    assert lines.exit_code == 0
    expected = [json.loads(line) for line in (config.parent / "entries.jsonl").read_text().splitlines()]
    for row in found:
        for name in ("tags", "attempts", "cost_parts", "metadata", "units"):
            row[name] = None if row[name] is None else json.loads(row[name])
    assert found == expected
    assert [row["units"] for row in found][1] == {"cache_write_1h": 10}


def test_an_empty_ledger_is_an_empty_file(config: Path) -> None:
    enter(config)
    output = config.parent / "entries.parquet"
    assert usage(config, "export", "--format", "parquet", "--output", str(output)).exit_code == 0
    assert parquet.ParquetFile(output).read().num_rows == 0


def test_parquet_needs_a_file_and_its_library(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(config)
    result = usage(config, "export", "--format", "parquet")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: a Parquet file can't be written to standard output: name it by --output\n",
    )
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = usage(config, "export", "--format", "parquet", "--output", str(config.parent / "x.parquet"))
    assert result.exit_code == 2
    assert "pip install 'llm-gateway[parquet]'" in result.stderr
