"""What this reference shows of an entry of the ledger, wherever it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.domain.analytics.periods import of_ns
from gateway.domain.ledger.model import LedgerEntry


def shown(entry: LedgerEntry) -> dict[str, Any]:
    """What records of usage and of costs have in common."""
    return {
        "id": entry.id,
        "timestamp": of_ns(entry.started_ns),
        "organization_id": entry.organization,
        "provider": entry.provider,
        "model_id": entry.model,
        "input_tokens": entry.prompt_tokens,
        "output_tokens": entry.completion_tokens,
        "total_tokens": entry.total_tokens,
        "cached_tokens": entry.cached_tokens,
        "tags": tags_shown(entry.tags),
        "metadata": metadata_of(entry),
    }


def tags_shown(tags: Mapping[str, Any] | None) -> list[str]:
    """Tags as this reference writes them."""
    return [f"{name}:{value}" if value else name for name, value in (tags or {}).items()]


def metadata_of(entry: LedgerEntry) -> dict[str, Any]:
    """What was reported with an entry, or what the gateway knows of it: ``request_id`` is the ``x-request-id``."""
    if entry.source == "api":
        return entry.details or {}
    told = {
        "request_id": entry.id if entry.corrects is None else None,
        "user_id": entry.user,
        "api_key_id": entry.credential,
        "app_id": entry.app,
        "endpoint": entry.endpoint,
        "requested_model": entry.requested_model,
        "status": entry.status,
        "outcome": entry.outcome,
        "stream": entry.stream,
        "estimated": entry.estimated,
        "duration_ms": (entry.ended_ns - entry.started_ns) // 1_000_000,
        "first_token_ms": entry.first_token_ms,
        "cached_saving": entry.saved_nanos / 1e9 if entry.saved_nanos else None,
        "attempts": len(entry.attempts or ()),
    }
    return {name: value for name, value in told.items() if value is not None} | (entry.details or {})
