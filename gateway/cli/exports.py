"""Entries of the ledger in a file: CSV, JSON lines, or Parquet, which needs the extra ``parquet``."""

from __future__ import annotations

import csv
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

import orjson
from sqlalchemy import Boolean, Integer

from gateway.domain.ledger.model import LedgerEntry

FORMATS = ("csv", "jsonl", "parquet")
COLUMNS = tuple(str(item.columns[0].name) for item in LedgerEntry.__mapper__.column_attrs)
_ATTRIBUTES = tuple(item.key for item in LedgerEntry.__mapper__.column_attrs)
_TYPES = tuple(item.columns[0].type for item in LedgerEntry.__mapper__.column_attrs)
ROW_GROUP = 10_000
"""Entries that a Parquet file's row group holds, and that wait in memory for it."""


class ExportFault(Exception):
    """The entries can't be written so: why, and what to do."""


class Writer(Protocol):
    """Takes entries, some at a time."""

    def write(self, entries: Sequence[LedgerEntry]) -> None:
        """Write them, or keep them for the next row group."""


@contextmanager
def writer(form: str, output: Path | None) -> Iterator[Writer]:
    """A writer for the duration of the block; ``output`` None is standard output. Raises :class:`ExportFault`."""
    if form == "parquet":
        if output is None:
            raise ExportFault("a Parquet file can't be written to standard output: name it by --output")
        parquet = _Parquet(output)
        try:
            yield parquet
        finally:
            parquet.close()
    elif output is None:
        yield _TEXTS[form](sys.stdout)
    else:
        with output.open("w", encoding="utf-8", newline="") as file:
            yield _TEXTS[form](file)


class _Csv:
    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file)
        self._writer.writerow(COLUMNS)

    def write(self, entries: Sequence[LedgerEntry]) -> None:
        self._writer.writerows([_cell(value) for value in _values(entry)] for entry in entries)


class _JsonLines:
    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, entries: Sequence[LedgerEntry]) -> None:
        for entry in entries:
            self._file.write(orjson.dumps(dict(zip(COLUMNS, _values(entry), strict=True))).decode() + "\n")


_TEXTS: dict[str, type[_Csv] | type[_JsonLines]] = {"csv": _Csv, "jsonl": _JsonLines}


class _Parquet:
    """Numbers and truth values as such, what is JSON in the ledger as text; a row group at a time in memory."""

    def __init__(self, output: Path) -> None:
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise ExportFault("Parquet needs the extra: pip install 'llm-gateway[parquet]'") from None
        arrow = self._arrow
        fields = [(name, _arrow_type(arrow, kind)) for name, kind in zip(COLUMNS, _TYPES, strict=True)]
        self._schema = arrow.schema(fields)
        self._writer = parquet.ParquetWriter(str(output), self._schema, compression="zstd")
        self._rows: list[list[Any]] = []

    def write(self, entries: Sequence[LedgerEntry]) -> None:
        self._rows += [[_flat(value) for value in _values(entry)] for entry in entries]
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            columns = list(zip(*self._rows, strict=True))
            self._rows.clear()
            arrays = [self._arrow.array(column, each.type) for column, each in zip(columns, self._schema, strict=True)]
            self._writer.write_batch(self._arrow.RecordBatch.from_arrays(arrays, schema=self._schema))


def _arrow_type(arrow: Any, kind: object) -> Any:
    if isinstance(kind, Boolean):
        return arrow.bool_()
    return arrow.int64() if isinstance(kind, Integer) else arrow.string()


def _values(entry: LedgerEntry) -> list[Any]:
    return [getattr(entry, name) for name in _ATTRIBUTES]


def _flat(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else value


def _cell(value: Any) -> Any:
    # A spreadsheet would run a text that begins like a formula.
    flat = _flat(value)
    return f"'{flat}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else flat
