"""The change log as the feed reads it; what keeps it is behind this interface."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from gateway.contract.policy import Change


class ChangeLog(Protocol):
    """Rows of ``policy_changes``, numbered in the order in which they were committed."""

    async def last(self) -> int:
        """The number of the last change; 0 where there was none yet."""
        ...

    async def since(self, after: int, limit: int) -> Sequence[Change]:
        """Up to ``limit`` changes after the number ``after``, oldest first.

        Where some of them are no longer kept the numbers have a gap, or the one change is ``everything``.
        """
        ...

    async def prune(self, keep: int) -> None:
        """Forget all but the last ``keep`` changes."""
        ...


def everything(seq: int) -> Change:
    """The change that says: all that was learnt before ``seq`` may be stale."""
    return Change(seq=seq, at_ns=time.time_ns(), kind="everything", id="")


def whole(after: int, page: Sequence[Change]) -> Sequence[Change]:
    """The changes that follow ``after``; ``everything`` in their place where a number is missing.

    Numbers go missing when old changes are forgotten; a database may also skip one, which costs little.
    """
    if not page or page[-1].seq - after == len(page):
        return page
    return [everything(page[-1].seq)]
