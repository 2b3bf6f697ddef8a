"""What Anthropic's models take, by the version in their names.

Sources: the model pages and "Models overview" (limits), "Adaptive thinking", "Extended thinking", "Effort",
"Structured outputs", "Mid-conversation system messages" and the migration guides (sampling parameters).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

_NEWEST: Final = (99, 0)
_BEFORE: Final = re.compile(r"claude-(\d+)(?:[-.](\d))?-(opus|sonnet|haiku)")
_AFTER: Final = re.compile(r"claude-([a-z]+)-(\d{1,2})(?:[-.@](\d{1,2}))?(?!\d)")
# From which version on how many completion tokens are the most.
_LIMITS: Final = (((3, 0), 4_096), ((3, 5), 8_192), ((3, 7), 64_000), ((4, 6), 128_000))
_SMALLER: Final = {("opus", (4, 0)): 32_000, ("opus", (4, 1)): 32_000}


class Abilities(NamedTuple):
    """``max_tokens`` of one answer. ``thinks``: by a budget; ``adapts``: as it sees fit, by an effort. ``samples``:
    temperature, top_p and top_k. ``formats``: answers by a JSON schema. ``system_turns``: system messages between
    others.
    """

    max_tokens: int
    thinks: bool
    adapts: bool
    samples: bool
    formats: bool
    system_turns: bool


@lru_cache(maxsize=1024)
def abilities_of(model: str) -> Abilities:
    """What a model takes. A name without a version is taken for the newest."""
    family, version = _parsed(model.lower())
    limit = max((most for since, most in _LIMITS if version >= since), default=4_096)
    return Abilities(
        max_tokens=_SMALLER.get((family, version), limit),
        thinks=version >= (3, 7),
        adapts=version >= (4, 6),
        samples=version < (4, 7),
        formats=version >= (4, 5),
        system_turns=version >= (4, 8) and (family, version) != ("sonnet", (5, 0)),
    )


def _parsed(name: str) -> tuple[str, tuple[int, int]]:
    found = _BEFORE.search(name)
    if found is not None:
        return found[3], (int(found[1]), int(found[2] or 0))
    found = _AFTER.search(name)
    if found is not None:
        return found[1], (int(found[2]), int(found[3] or 0))
    return "", _NEWEST
