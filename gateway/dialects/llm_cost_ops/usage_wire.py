"""What is sent and answered of usage records."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.dialects.common.models import Answer, Asked, Dollars, Instant, Moment
from gateway.dialects.llm_cost_ops.entries import shown
from gateway.domain.analytics.periods import to_ns
from gateway.domain.analytics.service import Shown
from gateway.domain.fields import LARGEST
from gateway.domain.ledger.query import NewUsage
from gateway.domain.ledger.reporting import Report
from gateway.kernel.errors import FieldFault, GatewayError, Kind

MOST_RECORDS = 1_000
_LARGEST_METADATA = 16_384  # bytes of JSON
_MODEL = re.compile(r"[^\s\x00-\x1f\x7f]{1,200}\Z")
_CLOCKS_DIFFER = timedelta(minutes=5)
# The reference, "Supported Providers".
PROVIDERS = frozenset({"openai", "anthropic", "google", "azure", "aws", "cohere", "mistral"})

Count = Annotated[int, Field(ge=0, le=LARGEST)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Tag = Annotated[str, Field(min_length=1, max_length=200)]


class NewRecord(Asked):
    """Usage of a request. ``idempotency_key`` is beyond the reference: a record under one is entered once."""

    organization_id: Name
    provider: Name
    model_id: Name
    input_tokens: Count
    output_tokens: Count
    total_tokens: Count
    cached_tokens: Count = 0
    reasoning_tokens: Count = 0
    timestamp: Moment | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    tags: list[Tag] = Field(default_factory=list, max_length=50)
    idempotency_key: str | None = Field(default=None, min_length=1, max_length=200)


class NewRecords(Asked):
    """Up to 1,000 records; each is looked at for itself."""

    records: list[Any] = Field(min_length=1, max_length=MOST_RECORDS)


class Submitted(Answer):
    """What became of a record. ``estimated_cost`` is null where no price is known."""

    usage_id: str
    organization_id: str
    estimated_cost: Dollars | None
    currency: str = "USD"
    processed_at: Instant


class SubmittedAnswer(Answer):
    """One submitted record."""

    data: Submitted


class RecordResult(Answer):
    """What became of the record at ``index``: its id, or the error as it would have been answered alone."""

    index: int
    usage_id: str | None = None
    status: Literal["success", "failed"]
    error: dict[str, Any] | None = None


class BatchResult(Answer):
    """What became of a batch."""

    submitted: int
    failed: int
    results: list[RecordResult]


class BatchAnswer(Answer):
    """A submitted batch."""

    data: BatchResult


class Record(Answer):
    """One record. ``estimated_cost`` is null where no price is known."""

    id: str
    timestamp: Instant
    organization_id: str
    provider: str | None
    model_id: str
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    estimated_cost: Dollars | None
    currency: str = "USD"
    tags: list[str]
    metadata: dict[str, Any]


class RecordAnswer(Answer):
    """One record."""

    data: Record


def report_of(asked: NewRecord, now: datetime, known: frozenset[str], key: str | None) -> Report:
    """The record as the ledger takes it. ``known`` are the providers; ``key`` makes it enter once.

    Raises INVALID ``invalid_provider``, ``invalid_model`` and ``validation_error``.
    """
    faults = _faults(asked, now)
    if faults:
        raise GatewayError(Kind.INVALID, "validation_error", "Request validation failed.", invalid=faults)
    check_provider(asked.provider, known)
    check_model(asked.model_id)
    metadata, at = asked.metadata, asked.timestamp
    usage = NewUsage(
        organization=asked.organization_id,
        provider=asked.provider,
        model=asked.model_id,
        started_ns=to_ns(now if at is None else at),
        prompt_tokens=asked.input_tokens,
        cached_tokens=asked.cached_tokens,
        completion_tokens=asked.output_tokens,
        reasoning_tokens=asked.reasoning_tokens,
        user=_text(metadata, "user_id"),
        endpoint=_text(metadata, "endpoint"),
        tags=tags_of(asked.tags, _text(metadata, "project") or _text(metadata, "project_id")),
        metadata=metadata,
        idempotency_key=asked.idempotency_key or key,
    )
    return Report(usage, is_now=at is None)


def check_provider(name: str, known: frozenset[str]) -> None:
    """Raise INVALID ``invalid_provider`` for one that is not known."""
    if name not in known:
        message = f"provider must be one of: {', '.join(sorted(known))}."
        raise GatewayError(Kind.INVALID, "invalid_provider", message, "provider")


def check_model(name: str) -> None:
    """Raise INVALID ``invalid_model`` for what can't be a model's name."""
    if not _MODEL.match(name):
        message = "model_id must be a model's name, without white space, such as gpt-4-turbo."
        raise GatewayError(Kind.INVALID, "invalid_model", message, "model_id")


def _faults(asked: NewRecord, now: datetime) -> list[FieldFault]:
    faults = []
    if asked.total_tokens != asked.input_tokens + asked.output_tokens:
        faults.append(FieldFault("total_tokens", "must be input_tokens plus output_tokens", "MISMATCH"))
    if asked.cached_tokens > asked.input_tokens:
        faults.append(FieldFault("cached_tokens", "must be less than or equal to input_tokens", "RANGE_MAX"))
    if asked.reasoning_tokens > asked.output_tokens:
        faults.append(FieldFault("reasoning_tokens", "must be less than or equal to output_tokens", "RANGE_MAX"))
    if asked.timestamp is not None and not asked.timestamp.year >= 1970:
        faults.append(FieldFault("timestamp", "must not be before 1970", "RANGE_MIN"))
    if asked.timestamp is not None and asked.timestamp > now + _CLOCKS_DIFFER:
        faults.append(FieldFault("timestamp", "must not be in the future", "RANGE_MAX"))
    if len(json.dumps(asked.metadata)) > _LARGEST_METADATA:
        faults.append(FieldFault("metadata", f"must have at most {_LARGEST_METADATA} bytes", "LENGTH_MAX"))
    return faults


def _text(metadata: Mapping[str, Any], name: str) -> str | None:
    value = metadata.get(name)
    return value[:200] if isinstance(value, str) and value else None


def tags_of(tags: list[str], project: str | None) -> dict[str, str]:
    """Tags as the ledger keeps them: ``team:search`` is the tag ``team`` with a value."""
    found: dict[str, str] = {} if project is None else {"project": project}
    for tag in tags:
        name, _, value = tag.partition(":")
        if name and value and found.get(name, value) == value:
            found[name] = value
        else:
            found[tag] = ""
    return found


def record_of(found: Shown) -> Record:
    """An entry as this reference writes it, at what it costs by its last correction."""
    return Record(**shown(found.entry), reasoning_tokens=found.entry.reasoning_tokens, estimated_cost=found.cost_nanos)
