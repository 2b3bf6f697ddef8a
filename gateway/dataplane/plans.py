"""The plans that credentials are on, as the configuration has them."""

from __future__ import annotations

from functools import cache

import msgspec

from gateway.kernel.shipped import shipped
from gateway.settings.model import Plan, Settings


def plans_of(settings: Settings) -> list[Plan]:
    """The configured plans; where there are none those that ship, which the sidecar goes by then."""
    return [plan for plan in settings.plans if isinstance(plan, Plan)] or _shipped()


@cache
def _shipped() -> list[Plan]:
    found: list[Plan] = msgspec.yaml.decode(shipped("plans.yaml").read_bytes(), type=list[Plan])
    return found
