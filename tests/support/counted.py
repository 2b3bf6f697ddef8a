"""What is used of limits, written down as a worker of the data plane does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gateway.contract.policy import LimitPolicy
from gateway.contract.usage import UsageEvent
from gateway.dataplane.admission.books import Books
from gateway.dataplane.admission.counters import Counter


class _Silent:
    """A usage log in which nothing ever happens."""

    def mark(self) -> str:
        return "0"

    def since(self, mark: str, *, worker: int | None = None) -> Iterator[UsageEvent]:
        return iter(())


def count(data_dir: Path, policy: LimitPolicy, used: int) -> None:
    """Have ``used`` of a limit be used in the window that is now."""
    books = Books(data_dir / "limits.db", _Silent())
    counter = Counter(policy)
    books.load([counter])
    counter.count.used += used
    books.touched(counter)
    books.close()
