"""The rules that hold after the kills, and what breaks them.

1. A request whose client got a complete answer has one entry, under the ``x-request-id`` that the client got. Its
   tokens are those that the provider counted, its cost is theirs at the price; where the provider told no usage, it is
   marked ``estimated`` and not above what the provider sent, nor below it where all of it arrived.
2. No request has two entries, and no entry is about a request that nobody made.
3. A request without a complete answer has one entry or none. None is right only where it never was admitted or its
   worker was killed: it was under way when one was, or its client had left and its tokens could still be counted then.
   What such an entry says is bound as above.
4. So the tokens that the provider told of lie, in all, between those of the complete answers and those of all attempts
   that were dispatched.
5. A price that was corrected meanwhile: each entry stands at the new price, by one reversal and one new entry at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import orjson
from msgspec import Struct, field

from gateway.dataplane.counting.client import LONGEST
from tests.faults.kills.ledger import NUMBERS, Entry
from tests.faults.kills.traffic import Asked
from tests.faults.kills.upstream import Counting, Served

SLACK = 3
"""Tokens that an estimate may be above what was sent: events that hold no text."""
BEGINNING = '{"id":"req_'
FREE = ("error", "refused")


class Prices(Struct, frozen=True):
    """Nano-dollars a token that a model has to stand at in the end."""

    input: int
    output: int

    def cost(self, prompt: int, completion: int) -> int:
        """The cost of some tokens; cached and reasoning ones have no price of their own here."""
        return prompt * self.input + completion * self.output


class Death(Struct, frozen=True):
    """When a process that had requests under way was killed: between two moments of the monotonic clock, in seconds."""

    since: float
    until: float

    def met(self, request: Asked) -> bool:
        """Whether a request may have been under way then. What a client left is, until its tokens are counted."""
        counted = LONGEST if request.left else 0.0
        return request.began <= self.until and request.ended + counted >= self.since


class Verdict(Struct):
    """What was found. ``faults`` is empty where every rule holds."""

    requests: int = 0
    dispatched: int = 0
    answered: int = 0
    entries: int = 0
    corrected: int = 0
    estimated: int = 0
    doubles: int = 0
    missing: int = 0
    strangers: int = 0
    torn: int = 0
    """Lines that were set aside because they end midway."""
    unrecorded: int = 0
    """Dispatched, no complete answer, no entry: under way in a process that was killed."""
    tokens: dict[str, int] = field(default_factory=dict)
    """Of usage that the provider told: of complete answers, in the ledger, and dispatched. Of what it did not tell:
    completions that were estimated, and what it sent of them."""
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        """Break a rule."""
        self.faults.append(text)


def is_torn(line: str) -> bool:
    """Whether a line is the beginning of an event and no more: its process was killed while it wrote."""
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return line.startswith(BEGINNING[: len(line)])
    return False


def judge(
    asked: Mapping[str, Asked],
    books: Counting,
    entries: Sequence[Entry],
    prices: Mapping[str, Prices],
    deaths: Sequence[Death] = (),
) -> Verdict:
    """Hold the ledger against clients and provider."""
    used = [entry for entry in entries if entry.kind == "usage"]
    by_nonce: dict[str, list[Entry]] = {}
    for entry in used:
        by_nonce.setdefault(entry.nonce, []).append(entry)
    dispatched = [nonce for nonce in asked if nonce in books.served]
    found = Verdict(
        requests=len(asked),
        dispatched=len(dispatched),
        entries=len(used),
        estimated=sum(entry.estimated for entry in used),
    )
    for nonce, rows in by_nonce.items():
        if nonce not in asked:
            found.strangers += len(rows)
            found.fault(f"nobody asked for {rows[0]}")
        elif len(rows) > 1:
            found.doubles += len(rows) - 1
            found.fault(f"{asked[nonce]} is entered {len(rows)} times")
    for nonce, request in asked.items():
        rows = by_nonce.get(nonce, [])
        found.answered += request.answered
        if not rows and request.answered:
            found.missing += 1
            found.fault(f"{request} is not in the ledger, served: {books.served.get(nonce)}")
        elif rows:
            _compare(found, request, rows[0], books)
        elif nonce in books.served:
            found.unrecorded += 1
            if not any(death.met(request) for death in deaths):
                found.fault(f"{request} was dispatched and not recorded, and nobody was killed meanwhile")
    _sum_up(found, asked, books, by_nonce, dispatched)
    _stand(found, used, entries, prices)
    return found


def _compare(found: Verdict, request: Asked, entry: Entry, books: Counting) -> None:
    attempts = books.served.get(request.nonce, [])
    last = attempts[-1] if attempts else None
    if request.id is not None and request.id != entry.id:
        found.fault(f"{request} is entered as {entry.id}")
    if request.answered and len(entry.attempts) != len(attempts):
        found.fault(f"{request}: {len(entry.attempts)} attempts are entered, {len(attempts)} were made")
    if request.answered and entry.status != request.status:
        found.fault(f"{request} is entered with status {entry.status}")
    if entry.estimated and last is not None:
        found.tokens["estimated"] = found.tokens.get("estimated", 0) + entry.completion_tokens
        found.tokens["sent"] = found.tokens.get("sent", 0) + last.completion
    wrong = _wrong(entry, last)
    if wrong:
        found.fault(f"{wrong}: {entry} of {request}, counted by the provider: {attempts}")


def _wrong(entry: Entry, last: Served | None) -> str:
    """What the numbers of an entry may not be."""
    numbers = (entry.prompt_tokens, entry.cached_tokens, entry.completion_tokens, entry.reasoning_tokens)
    if last is None or last.failed or entry.outcome in FREE:
        return "" if not any(numbers) and not entry.cost_nanos else "billed for nothing"
    if not entry.estimated:
        told = (last.prompt, last.cached, last.completion, last.reasoning)
        if last.told and numbers == told:
            return ""
        return "" if entry.outcome != "ok" and not any(numbers) else "not the provider's numbers"
    if entry.outcome == "ok" and last.told:
        return "estimated although the usage was told"
    least = last.completion if entry.outcome == "ok" else 0
    return "" if least <= entry.completion_tokens <= last.completion + SLACK else "not what the provider sent"


def _sum_up(
    found: Verdict,
    asked: Mapping[str, Asked],
    books: Counting,
    by_nonce: Mapping[str, Sequence[Entry]],
    dispatched: Sequence[str],
) -> None:
    totals: Counter[str] = Counter()
    for nonce in dispatched:
        last = books.served[nonce][-1]
        tokens = last.prompt + last.completion if last.told else 0
        totals["dispatched"] += tokens
        totals["answered"] += tokens if asked[nonce].complete else 0
        totals["ledger"] += sum(
            entry.prompt_tokens + entry.completion_tokens for entry in by_nonce.get(nonce, ()) if not entry.estimated
        )
    found.tokens |= totals
    if not totals["answered"] <= totals["ledger"] <= totals["dispatched"]:
        found.fault(f"the totals are out of bounds: {found.tokens}")


def _stand(found: Verdict, used: Sequence[Entry], entries: Sequence[Entry], prices: Mapping[str, Prices]) -> None:
    """Each entry with what corrects it: counted once, at the price of its model."""
    corrections: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.corrects is not None:
            corrections.setdefault(entry.corrects, []).append(entry)
    for entry in used:
        further = corrections.pop(entry.id, [])
        kinds = sorted(each.kind for each in further)
        if kinds not in ([], ["adjustment", "reversal"]):
            found.fault(f"{entry.id} is corrected by {kinds}")
        found.corrected += bool(further)
        sums = {name: sum(getattr(each, name) or 0 for each in (entry, *further)) for name in NUMBERS}
        price = prices.get(entry.model)
        billed = price is not None and (entry.prompt_tokens or entry.completion_tokens)
        cost = price.cost(entry.prompt_tokens, entry.completion_tokens) if price is not None and billed else 0
        if sums["requests"] != 1 or sums["prompt_tokens"] != entry.prompt_tokens or sums["cost_nanos"] != cost:
            found.fault(f"{entry} stands at {sums} with {further}, expected to cost {cost}")
    if corrections:
        found.fault(f"corrected without being there: {sorted(corrections)}")
