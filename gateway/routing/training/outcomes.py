"""Recorded outcomes: how well which model answered which prompt.

Read from every Parquet file of a folder, one row per prompt and model::

    prompt_id  prompt  task  model  score (0..1)   [out_chars  cost_usd  in_chars  contaminated]

Files named ``<set>.<part>.parquet`` with the same ``<set>`` are one set. A set is one way of asking and marking: two
sets may hold the same questions and mark them differently.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as parquet
from numpy.typing import NDArray

CHARS_PER_TOKEN: Final = 4.0
REQUIRED: Final = ("prompt_id", "prompt", "task", "model", "score")
_OPTIONS: Final = re.compile(r"\n[A-Z]\. ")
_NOT_WORDS: Final = re.compile(r"\W+")

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


class DataFault(Exception):
    """The folder holds nothing to learn from, or not in the form expected: the file and what was expected."""


@dataclass(frozen=True)
class Outcomes:
    """``n`` prompts by ``h`` models; NaN where nothing was recorded.

    ``score`` and ``cost`` (US dollars) are ``n × h``, ``tokens`` (of the answer) too. ``set_of`` and ``task_of`` are
    numbers into ``sets`` and ``tasks``, ``group`` is the same for prompts that ask the same question, in any set.
    ``part_of`` is the number of the file's part in ``parts`` (``train``, ``dev``).
    """

    ids: list[str]
    prompts: list[str]
    models: tuple[str, ...]
    sets: tuple[str, ...]
    tasks: tuple[str, ...]
    parts: tuple[str, ...]
    set_of: Numbers
    task_of: Numbers
    part_of: Numbers
    group: Numbers
    score: Floats
    tokens: Floats
    cost: Floats

    def __len__(self) -> int:
        return len(self.ids)

    def some(self, rows: Numbers) -> Outcomes:
        """The prompts with these numbers, and all names as they are."""
        return replace(
            self,
            ids=[self.ids[row] for row in rows],
            prompts=[self.prompts[row] for row in rows],
            **{
                name: getattr(self, name)[rows]
                for name in ("set_of", "task_of", "part_of", "group", "score", "tokens", "cost")
            },
        )


def read(folder: Path, say: Callable[[str], None] = lambda text: None) -> Outcomes:
    """Everything in a folder, prompts marked as contaminated left out. Raises :class:`DataFault`."""
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise DataFault(f"{folder}: expected Parquet files with the columns {', '.join(REQUIRED)}; found none")
    gathered = _Gathered()
    for path in files:
        before = len(gathered.rows)
        gathered.add(path)
        say(f"{path.name}: {len(gathered.rows) - before} prompts")
    if not gathered.rows:
        raise DataFault(f"{folder}: expected at least one outcome; every file is empty")
    return gathered.outcomes()


@dataclass
class _Row:
    prompt: str
    set_name: str
    task: str
    part: str
    found: dict[str, tuple[float, float, float]]


class _Gathered:
    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], _Row] = {}

    def add(self, path: Path) -> None:
        set_name, _, part = path.name.removesuffix(".parquet").partition(".")
        for each in _records(path):
            if each.get("contaminated"):
                continue
            key = (set_name, each["prompt_id"])
            row = self.rows.get(key)
            if row is None:
                row = self.rows[key] = _Row(each["prompt"], set_name, each["task"], part, {})
            score = each["score"]
            if score is None or not 0.0 <= score <= 1.0:
                raise DataFault(f"{path}: score: expected a number from 0 to 1 for {key[1]}, found {score!r}")
            row.found[each["model"]] = (score, _number(each.get("out_chars")), _number(each.get("cost_usd")))

    def outcomes(self) -> Outcomes:
        rows = list(self.rows.values())
        models = tuple(sorted({model for row in rows for model in row.found}))
        places = {model: place for place, model in enumerate(models)}
        values = np.full((3, len(rows), len(models)), np.nan, np.float32)
        for number, row in enumerate(rows):
            for model, found in row.found.items():
                values[:, number, places[model]] = found
        sets, set_of = _numbered([row.set_name for row in rows])
        tasks, task_of = _numbered(_task_names(rows))
        parts, part_of = _numbered([row.part for row in rows])
        groups = np.array([question(row.prompt) for row in rows], np.int64)
        return Outcomes(
            [key[1] for key in self.rows],
            [row.prompt for row in rows],
            *(models, sets, tasks, parts, set_of, task_of, part_of, groups),
            *(values[0], values[1] / np.float32(CHARS_PER_TOKEN), values[2]),
        )


def question(prompt: str) -> int:
    """A number for what is asked, without the options to choose from and without spelling's differences."""
    stem = _NOT_WORDS.sub(" ", _OPTIONS.split(prompt, maxsplit=1)[0].lower()).strip()
    return zlib.crc32(stem.encode("utf-8", "surrogatepass"))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise DataFault(f"{path}: expected a Parquet file: {error}") from None
    names = set(file.schema_arrow.names)
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise DataFault(f"{path}: expected the columns {', '.join(REQUIRED)}; {', '.join(missing)} missing")
    wanted = [*REQUIRED, *(name for name in ("out_chars", "cost_usd", "contaminated") if name in names)]
    for batch in file.iter_batches(batch_size=20_000, columns=wanted):
        yield from batch.to_pylist()


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _task_names(rows: list[_Row]) -> list[str]:
    """A task is one set's alone: where two sets have one of the same name, the set's name is added."""
    homes: dict[str, set[str]] = {}
    for row in rows:
        homes.setdefault(row.task, set()).add(row.set_name)
    return [row.task if len(homes[row.task]) == 1 else f"{row.task}@{row.set_name}" for row in rows]


def _numbered(names: list[str]) -> tuple[tuple[str, ...], Numbers]:
    unique = tuple(sorted(set(names)))
    places = {name: place for place, name in enumerate(unique)}
    return unique, np.array([places[name] for name in names], np.int64)
