"""How a refusal reads, by where its limit comes from."""

from __future__ import annotations

from gateway.dataplane.admission.counters import FOREVER, Counter
from gateway.kernel.errors import GatewayError, Kind
from gateway.kernel.money import NANOS_PER_DOLLAR


def refusal(counter: Counter, amount: int, now: float) -> GatewayError:
    """The error for a limit that has no room for ``amount`` at Unix time ``now``."""
    kind, code, message, wait = _told(counter, amount, now)
    return GatewayError(kind, code, message, retry_after=wait, details=counter.details())


def _told(counter: Counter, amount: int, now: float) -> tuple[Kind, str, str, float | None]:
    metric, ceiling, whose = counter.metric, counter.ceiling, scope_of(counter)
    if metric == "concurrency":
        message = f"Too many requests at once: {whose} allows {ceiling}. Wait for one to finish."
        return Kind.RATE_LIMITED, "concurrency_limit_exceeded", message, 1.0
    wait = max(1.0, counter.resets_at - now) if counter.resets_at != FOREVER else None
    never = ""
    if amount > ceiling and metric in ("tokens", "cost"):
        wait, never = None, " This request alone is larger than the limit: ask for fewer tokens."
    source = counter.policy.source
    if metric == "cost":
        spent, most, asked = (
            number / NANOS_PER_DOLLAR for number in (max(0, ceiling - counter.remaining()), ceiling, amount)
        )
        if source == "credit":
            message = (
                f"The credits of {whose} do not cover this request: ${spent:.6f} of ${most:.6f} are spent or reserved,"
                f" and this request may cost ${asked:.6f}. Add credits, or ask for fewer tokens."
            )
            return Kind.PAYMENT_REQUIRED, "insufficient_credits", message, None
        message = (
            f"The budget of {whose} does not cover this request: ${spent:.6f} of ${most:.6f} per {counter.window}"
            f" is spent or reserved, and this request may cost ${asked:.6f}."
        )
        return Kind.QUOTA_EXCEEDED, "insufficient_quota", message + never, wait
    used = max(0, ceiling - counter.remaining())
    if source == "plan" and counter.window in ("month", "year", "total"):
        message = (
            f"The quota of {whose} is used up: {used} of {ceiling} {metric} per {counter.window},"
            f" requested {amount}.{never}"
        )
        return Kind.QUOTA_EXCEEDED, "quota_exceeded", message, wait
    message = (
        f"Rate limit reached for {whose}: limit {ceiling} {metric} per {counter.window},"
        f" used {used}, requested {amount}.{never}"
    )
    return Kind.RATE_LIMITED, "rate_limit_exceeded", message, wait


def scope_of(counter: Counter) -> str:
    """Whose limit it is, in words."""
    policy = counter.policy
    if policy.source == "plan" and policy.name:
        return f"plan '{policy.name}'"
    whose = "the gateway" if policy.scope == "global" else f"{policy.scope} '{policy.scope_id}'"
    if policy.model is not None:
        whose += f" on model '{policy.model}'"
    if policy.provider is not None:
        whose += f" at provider '{policy.provider}'"
    return whose
