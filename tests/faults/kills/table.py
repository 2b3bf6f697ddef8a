"""What is printed of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.faults.kills.run import Outcome

FAULTS = 20
"""How many faults of a run are shown."""

_ROWS: tuple[tuple[str, Callable[[Outcome], object]], ...] = (
    ("seed", lambda it: it.seed),
    ("kills", lambda it: f"{it.kills.total()}: " + ", ".join(f"{count} {kind}" for kind, count in it.kills.items())),
    ("seconds", lambda it: f"{it.seconds:.0f}"),
    ("requests, also those that nobody heard", lambda it: f"{it.verdict.requests:,}"),
    ("requests that the provider saw", lambda it: f"{it.verdict.dispatched:,}"),
    ("answered completely", lambda it: f"{it.verdict.answered:,}"),
    ("entries", lambda it: f"{it.verdict.entries:,}"),
    ("missing", lambda it: it.verdict.missing),
    ("doubled", lambda it: it.verdict.doubles),
    ("never asked for", lambda it: it.verdict.strangers),
    ("dispatched by a process that was killed, not recorded", lambda it: it.verdict.unrecorded),
    ("estimated", lambda it: it.verdict.estimated),
    ("lines torn and set aside", lambda it: it.verdict.torn),
    ("rated anew by a price told late", lambda it: it.verdict.corrected),
    ("tokens of complete answers", lambda it: f"{it.verdict.tokens['answered']:,}"),
    ("tokens in the ledger", lambda it: f"{it.verdict.tokens['ledger']:,}"),
    ("tokens the provider counted", lambda it: f"{it.verdict.tokens['dispatched']:,}"),
    ("completion tokens estimated where the provider told none", lambda it: f"{it.verdict.tokens['estimated']:,}"),
    ("completion tokens the provider sent there", lambda it: f"{it.verdict.tokens['sent']:,}"),
    ("seconds until the ledger was whole", lambda it: f"{it.whole_after:.1f}"),
    ("faults", lambda it: len(it.verdict.faults)),
)


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown: a row a number, a column a deployment."""
    lines = [["", *(outcome.name for outcome in outcomes)], ["---", *("--:" for _ in outcomes)]]
    lines += [[label, *(str(tell(outcome)) for outcome in outcomes)] for label, tell in _ROWS]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def faults(outcome: Outcome) -> str:
    """The first faults of a run."""
    shown = outcome.verdict.faults[:FAULTS]
    return "\n".join([f"{outcome.name}, seed {outcome.seed}: {len(outcome.verdict.faults)} faults", *shown])
