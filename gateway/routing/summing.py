"""What a :class:`~gateway.routing.panel.Panel` says of a prompt, in loops over C's numbers instead of NumPy's calls.

A NumPy call takes half a microsecond before it begins, and touches code and memory that the rest of a request puts out
of the processor's caches. Compiled, all of it together takes a quarter of the time. Run from source it would take many
times as long, and without the package ``librt`` it can't be imported: then NumPy is asked
(:mod:`~gateway.routing.products`). Both say the same but for rounding of 64-bit floats; sums of rows are whole numbers.

A row's bytes are raised by 128 and added up eight at a time, four and four in lanes of 16 bits of one number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import BuiltinFunctionType
from typing import Final

from librt.strings import read_i64_le
from librt.vecs import vec

from gateway.routing.candidates import View
from gateway.routing.estimates import Quality
from gateway.routing.features import STRUCTURAL
from gateway.routing.scanning import Scanner
from gateway.routing.widths import i64

# As in arithmetic.py and model.py; literals, which the compiler takes as they are.
_EDGE: Final = 0.02
_STEEPEST: Final = 60.0
_FOREIGN: Final = 0.05
_COARSER: Final = 4
_EVEN: Final = 0x00FF00FF00FF00FF
_LANE: Final = 0xFFFF
_RAISED: Final = 128
_MOST: Final = 128
"""Rows that are added up before a lane, of 255 each at the most, would reach its sign."""


def is_compiled() -> bool:
    """Whether this module is an extension."""
    how: object = is_compiled
    return isinstance(how, BuiltinFunctionType)


class Expert:
    """A model's head of one set: the place of its score, its set, its trust, and its rate of each task of the set."""

    __slots__ = ("head", "home", "rates", "trust")

    def __init__(self, head: int, home: int, trust: float, rates: Sequence[float]) -> None:
        self.head: i64 = head
        self.home: i64 = home
        self.trust = trust
        self.rates = vec[float](rates)


class Known:
    """One of a panel's names: its experts, and of each task likely, seen, tokens."""

    __slots__ = ("experts", "of_tasks")

    def __init__(self, experts: list[Expert], of_tasks: Sequence[float]) -> None:
        self.experts = experts
        self.of_tasks = vec[float](of_tasks)


class Layout:
    """A panel's numbers. ``table`` has a row of whole eights of bytes for each feature, raised by 128; its columns are
    the sets', the tasks' in the order of their sets, the experts'. ``ends`` is of each set where its tasks end.
    """

    __slots__ = ("ends", "intercepts", "known", "names", "row", "steps", "table")

    def __init__(
        self,
        table: bytes,
        row: int,
        steps: Sequence[float],
        intercepts: Sequence[float],
        ends: Sequence[int],
        names: list[str],
        known: list[Known],
    ) -> None:
        self.table = table
        self.row: i64 = row
        self.steps = vec[float](steps)
        self.intercepts = vec[float](intercepts)
        self.ends = vec[i64](ends)
        self.names = names  # of the tasks
        self.known = known


class Summing:
    """Says of prompts what is in ``layout``. Not to be shared between threads: it has a scratch of its own."""

    __slots__ = ("_gates", "_layout", "_powers", "_scanner", "_scores", "_sums", "_totals")

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._scanner = Scanner()
        self._sums = vec[i64]([0] * int(layout.row))
        self._scores = vec[float]([0.0] * len(layout.steps))
        self._powers = vec[float]([0.0] * len(layout.names))
        self._gates = vec[float]([0.0] * len(layout.ends))
        self._totals = vec[float]([0.0] * len(layout.ends))

    def __call__(self, prompt: str) -> View:
        """What is expected of each of the panel's names, in their order."""
        self._score(self._scanner(prompt))
        self._gate()
        best, familiar = self._power()
        return View(self._layout.names[best], familiar, [self._quality(one, familiar) for one in self._layout.known])

    def _score(self, many: i64) -> None:
        """Write the scores of sets, tasks and experts for the numbers that the scanner found."""
        layout, sums, scores = self._layout, self._sums, self._scores
        steps, intercepts, found = layout.steps, layout.intercepts, self._scanner.found
        words: i64 = many - len(STRUCTURAL)
        raised: i64 = -_RAISED * (words + _COARSER * len(STRUCTURAL))
        row: i64 = layout.row
        at: i64 = 0
        end: i64 = 0
        while at < row:
            sums[at] = raised
            at += 1
        at = 0
        while at < many:
            found[at] *= row
            at += 1
        at = 0
        while at < words:
            end = at + _MOST
            if end > words:
                end = words
            self._add(at, end, 1)
            at = end
        self._add(words, many, _COARSER)
        root = 1.0 / math.sqrt(many)
        at = 0
        end = len(steps)
        while at < end:
            scores[at] = float(sums[at]) * root * steps[at] + intercepts[at]
            at += 1

    def _add(self, begin: i64, end: i64, times: i64) -> None:
        """Add so many times the rows that begin where ``found`` says at these places, at most ``_MOST`` of them."""
        table, found, sums = self._layout.table, self._scanner.found, self._sums
        row: i64 = self._layout.row
        column: i64 = 0
        at: i64 = 0
        eight: i64 = 0
        even: i64 = 0
        odd: i64 = 0
        while column < row:
            even = 0
            odd = 0
            at = begin
            while at < end:
                eight = read_i64_le(table, found[at] + column)
                even += eight & _EVEN
                odd += eight >> 8 & _EVEN
                at += 1
            sums[column] += (even & _LANE) * times
            sums[column + 1] += (odd & _LANE) * times
            sums[column + 2] += (even >> 16 & _LANE) * times
            sums[column + 3] += (odd >> 16 & _LANE) * times
            sums[column + 4] += (even >> 32 & _LANE) * times
            sums[column + 5] += (odd >> 32 & _LANE) * times
            sums[column + 6] += (even >> 48 & _LANE) * times
            sums[column + 7] += (odd >> 48 & _LANE) * times
            column += 8

    def _gate(self) -> None:
        """Write how much the prompt is like each set."""
        gates, scores = self._gates, self._scores
        sets: i64 = len(gates)
        at: i64 = 1
        highest = scores[0]
        while at < sets:
            if scores[at] > highest:
                highest = scores[at]
            at += 1
        total = 0.0
        at = 0
        while at < sets:
            gates[at] = math.exp(scores[at] - highest)
            total += gates[at]
            at += 1
        at = 0
        while at < sets:
            gates[at] = gates[at] / total
            if gates[at] < 1e-6:
                gates[at] = 1e-6
            at += 1

    def _power(self) -> tuple[i64, float]:
        """Write the powers of tasks and of each set their sum; returns the likeliest task, and how likely it is."""
        powers, scores, gates, totals = self._powers, self._scores, self._gates, self._totals
        ends = self._layout.ends
        sets: i64 = len(gates)
        home: i64 = 0
        task: i64 = 0
        end: i64 = 0
        top: i64 = 0
        best: i64 = 0
        familiar = -1.0
        while home < sets:
            end = ends[home]
            total = 0.0
            top = task
            highest = -math.inf
            while task < end:
                score = scores[sets + task]
                if score > highest:
                    highest = score
                    top = task
                # No prompt, however odd, overflows a power or leaves a set without any.
                if score > _STEEPEST:
                    score = _STEEPEST
                elif score < -_STEEPEST:
                    score = -_STEEPEST
                powers[task] = math.exp(score)
                total += powers[task]
                task += 1
            totals[home] = total
            share = gates[home] / total * powers[top]
            if share > familiar:
                familiar = share
                best = top
            home += 1
        return best, familiar

    def _quality(self, known: Known, familiar: float) -> Quality:
        """What is expected of one of the names."""
        powers, gates, totals, scores = self._powers, self._gates, self._totals, self._scores
        ends, of_tasks = self._layout.ends, known.of_tasks
        sets: i64 = len(gates)
        home: i64 = 0
        task: i64 = 0
        at: i64 = 0
        end: i64 = 0
        likely = seen = tokens = 0.0
        while home < sets:
            end = ends[home]
            ratio = gates[home] / totals[home]
            while task < end:
                share = ratio * powers[task]
                likely += share * of_tasks[at]
                seen += share * of_tasks[at + 1]
                tokens += share * of_tasks[at + 2]
                at += 3
                task += 1
            home += 1
        total, weight = _FOREIGN * likely, _FOREIGN
        for expert in known.experts:
            gate = gates[expert.home]
            total += gate * _rate(scores[expert.head] + expert.trust * _logit(self._mean(expert)))
            weight += gate
        rate = total / weight
        return Quality(rate, math.sqrt(rate * (1.0 - rate) / (4.0 + familiar * seen)), tokens)

    def _mean(self, expert: Expert) -> float:
        """The mean of an expert's rates, by how much the prompt is like each task of its set."""
        rates, powers, ends = expert.rates, self._powers, self._layout.ends
        task: i64 = ends[expert.home - 1] if expert.home else 0
        at: i64 = 0
        end: i64 = len(rates)
        mixed = 0.0
        while at < end:
            mixed += powers[task] * rates[at]
            task += 1
            at += 1
        return mixed / self._totals[expert.home]


def _rate(value: float) -> float:
    if value > _STEEPEST:
        value = _STEEPEST
    elif value < -_STEEPEST:
        value = -_STEEPEST
    return 1.0 / (1.0 + math.exp(-value))


def _logit(rate: float) -> float:
    if rate < _EDGE:
        rate = _EDGE
    elif rate > 1.0 - _EDGE:
        rate = 1.0 - _EDGE
    return math.log(rate / (1.0 - rate))
