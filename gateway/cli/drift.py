"""What a provider's own usage export says, beside what the ledger says of the same days and models."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, TypeAlias

from msgspec import Struct, field

from gateway.kernel.money import to_nanos

NUMBERS: Final = ("requests", "prompt", "cached", "cache_write", "completion", "cost")
"""What is compared: requests, tokens, and nano-dollars."""
Key: TypeAlias = tuple[str, str]
"""A day (UTC, ISO 8601) and a model."""
Counts: TypeAlias = dict[str, int]

_DATED = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)$")


class ExportError(Exception):
    """The file is no export that can be read: where, and why."""


class Columns(Struct, frozen=True, kw_only=True):
    """Which columns of a file tell what; several of one number are added up. ``cost`` is in US dollars."""

    day: str
    model: str
    numbers: Mapping[str, tuple[str, ...]]


# The columns of OpenAI's usage export ("Usage", completions and the others alike), whose input is with what was cached,
# and of Claude Console's ("Usage", CSV export), whose input is without.
KNOWN: Final[dict[str, tuple[Columns, ...]]] = {
    "openai": tuple(
        Columns(
            day=day,
            model="model",
            numbers={
                "requests": ("num_model_requests",),
                "prompt": ("input_tokens",),
                "cached": ("input_cached_tokens",),
                "completion": ("output_tokens",),
            },
        )
        for day in ("start_time_iso", "start_time")
    ),
    "anthropic": (
        Columns(
            day="usage_date_utc",
            model="model_version",
            numbers={
                "prompt": (
                    "usage_input_tokens_no_cache",
                    "usage_input_tokens_cache_write_5m",
                    "usage_input_tokens_cache_write_1h",
                    "usage_input_tokens_cache_read",
                ),
                "cached": ("usage_input_tokens_cache_read",),
                "cache_write": ("usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h"),
                "completion": ("usage_output_tokens",),
            },
        ),
        # Its cost export.
        Columns(day="usage_date_utc", model="model", numbers={"cost": ("cost_usd",)}),
    ),
}


def columns_of(text: str) -> Columns:
    """A mapping such as ``day=date,model=model,prompt=in+cached,cost=usd``. Raises :class:`ExportError`."""
    told: dict[str, tuple[str, ...]] = {}
    for part in text.split(","):
        name, found, value = part.partition("=")
        if not found or not value.strip():
            raise ExportError(f"--columns: expected NAME=COLUMN, got {part!r}")
        told[name.strip()] = tuple(each.strip() for each in value.split("+"))
    unknown = set(told) - {"day", "model", *NUMBERS}
    if unknown:
        expected = ", ".join(("day", "model", *NUMBERS))
        raise ExportError(f"--columns: {sorted(unknown)[0]} is not known; expected {expected}")
    numbers: dict[str, tuple[str, ...]] = {name: told[name] for name in NUMBERS if name in told}
    if "day" not in told or "model" not in told or not numbers:
        raise ExportError(f"--columns: tell day, model and at least one of {', '.join(NUMBERS)}")
    return Columns(day=told["day"][0], model=told["model"][0], numbers=numbers)


class Export(Struct, frozen=True):
    """What a file says: whose it is (None: by ``--columns``), which numbers it tells, and the sums by day and model."""

    vendor: str | None
    told: tuple[str, ...]
    sums: dict[Key, Counts]

    @property
    def days(self) -> tuple[str, str]:
        """The first and the last day."""
        found = sorted(day for day, _ in self.sums)
        return found[0], found[-1]


def read_export(path: Path, columns: Columns | None = None) -> Export:
    """Read a CSV file, a row at a time. Raises :class:`ExportError` naming the line, and OSError."""
    sums: dict[Key, Counts] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        header = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        vendor, used = (None, _checked(columns, header)) if columns is not None else _recognised(header)
        for row in reader:
            try:
                key = _day(row[used.day]), _bare(row[used.model] or "")
                counts = sums.setdefault(key, dict.fromkeys(used.numbers, 0))
                for name, names in used.numbers.items():
                    counts[name] += sum(_number(name, row.get(each) or "0") for each in names)
            except ValueError as error:
                raise ExportError(f"{path}:{reader.line_num}: {error}") from None
    if not sums:
        raise ExportError(f"{path}: no row")
    return Export(vendor, tuple(used.numbers), sums)


def _recognised(header: Sequence[str]) -> tuple[str, Columns]:
    for vendor, forms in KNOWN.items():
        for form in forms:
            needed = {form.day, form.model, *(names[0] for names in form.numbers.values())}
            if needed <= set(header):
                return vendor, form
    raise ExportError(f"these columns are not those of a known export ({', '.join(KNOWN)}); tell them by --columns")


def _checked(columns: Columns, header: Sequence[str]) -> Columns:
    asked = (columns.day, columns.model, *(name for names in columns.numbers.values() for name in names))
    for name in asked:
        if name not in header:
            raise ExportError(f"there is no column {name!r}; there are {', '.join(header)}")
    return columns


def _day(text: str | None) -> str:
    text = (text or "").strip()
    if text.isdigit() and len(text) >= 9:
        return datetime.fromtimestamp(int(text), UTC).date().isoformat()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected a day or a time, got {text!r}") from None
    return (at.astimezone(UTC) if at.tzinfo is not None else at).date().isoformat()


def _number(name: str, text: str) -> int:
    try:
        value = Decimal(text.replace(",", "").replace("$", "").strip() or "0")
        return to_nanos(value) if name == "cost" else int(value)
    except (InvalidOperation, OverflowError):
        raise ValueError(f"expected a number, got {text!r}") from None


def _bare(model: str) -> str:
    """A model without its date: exports tell ``gpt-4o-2024-08-06`` where ``gpt-4o`` was asked for."""
    return _DATED.sub("", model.strip())


class Drift(Struct, frozen=True):
    """One number on both sides; ``percent`` is of the provider's, None where the provider's is 0 and ours is not."""

    ledger: int
    provider: int

    @property
    def difference(self) -> int:
        """How much more the ledger says."""
        return self.ledger - self.provider

    @property
    def percent(self) -> float | None:
        """See the class."""
        if not self.difference:
            return 0.0
        return None if not self.provider else 100 * self.difference / self.provider

    def within(self, tolerance: float) -> bool:
        """Whether the two differ by no more than so many percent."""
        return self.percent is not None and abs(self.percent) <= tolerance

    def document(self) -> dict[str, Any]:
        """As it is told in JSON."""
        told = {"ledger": self.ledger, "provider": self.provider, "difference": self.difference}
        return told | {"percent": None if self.percent is None else round(self.percent, 4)}


class Row(Struct, frozen=True):
    """A model's day, or the whole where ``day`` is empty."""

    day: str
    model: str
    drifts: dict[str, Drift] = field(default_factory=dict)

    def within(self, tolerance: float) -> bool:
        """Whether every number is."""
        return all(drift.within(tolerance) for drift in self.drifts.values())


def compare(export: Export, ours: Iterable[tuple[date, str, Counts]]) -> tuple[list[Row], Row]:
    """Each day and model that either side tells of, and the whole. ``ours`` are the ledger's sums by day and model."""
    ledger: dict[Key, Counts] = {}
    for day, model, counts in ours:
        kept = ledger.setdefault((day.isoformat(), _bare(model)), dict.fromkeys(export.told, 0))
        for name in export.told:
            kept[name] += counts[name]
    rows = [
        Row(*key, _drifts(export.told, ledger.get(key, {}), export.sums.get(key, {})))
        for key in sorted(ledger.keys() | export.sums.keys())
    ]
    return rows, Row("", "", _drifts(export.told, _total(ledger.values()), _total(export.sums.values())))


def _drifts(told: Sequence[str], ours: Counts, theirs: Counts) -> dict[str, Drift]:
    return {name: Drift(ours.get(name, 0), theirs.get(name, 0)) for name in told}


def _total(all_counts: Iterable[Counts]) -> Counts:
    total: Counts = {}
    for counts in all_counts:
        for name, count in counts.items():
            total[name] = total.get(name, 0) + count
    return total


def lines(rows: Iterable[Row], whole: Row, tolerance: float) -> Iterator[str]:
    """What differs by more than the tolerance, a line each, and the whole."""
    for row in rows:
        for name, drift in row.drifts.items():
            if not drift.within(tolerance):
                yield f"{row.day} {row.model or '?'}: {_words(name, drift)}"
    for name, drift in whole.drifts.items():
        yield f"all: {_words(name, drift)}"


def _words(name: str, drift: Drift) -> str:
    def shown(value: int) -> str:
        return f"{Decimal(value) / 10**9:.6f} USD" if name == "cost" else str(value)

    percent = "not in the export" if drift.percent is None else f"{drift.percent:+.2f} %"
    return f"{name} {shown(drift.ledger)}, provider {shown(drift.provider)} ({shown(drift.difference)}, {percent})"
