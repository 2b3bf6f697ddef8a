"""The errors that each reference documents, word for word, and what all envelopes have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.envelopes import RENDERERS, Rendered, render
from gateway.contract.envelopes.base import Table
from gateway.contract.owners import REFERENCES, Reference
from gateway.kernel.errors import FieldFault, GatewayError, Kind, LimitDetails, Upgrade

NOW = datetime(2025, 1, 9, 10, 30, tzinfo=UTC)
SOME_MONTH = datetime(2025, 2, 1, tzinfo=UTC).timestamp()


def rendered(reference: Reference, error: GatewayError, now: datetime = NOW) -> Rendered:
    return render(reference, error, request_id="req_1", now=now)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def a_limit(**fields: Any) -> LimitDetails:
    given: dict[str, Any] = {
        "metric": "requests",
        "scope": "organization",
        "scope_id": "acme",
        "limit": 100,
        "used": 100,
        "remaining": 0,
        "window": "minute",
        "resets_at": at("2024-01-01T00:00:00Z").timestamp(),
        "plan": "developer",
        "source": "plan",
    }
    return LimitDetails(**given | fields)


def limited(kind: Kind = Kind.RATE_LIMITED, code: str = "rate_limit_exceeded", **fields: Any) -> GatewayError:
    return GatewayError(kind, code, "Too much.", retry_after=30.2, details=a_limit(**fields))


# what the references print


def test_gatewayz() -> None:
    error = GatewayError(Kind.INVALID, "anything", "Error message")
    assert rendered("gatewayz", error, at("2024-01-01T00:00:00Z")) == (
        400,
        {"detail": "Error message", "status_code": 400, "timestamp": "2024-01-01T00:00:00Z"},
        {},
    )


def test_cost_ops() -> None:
    error = GatewayError(Kind.NOT_FOUND, "usage_not_found", "No such record.")
    assert rendered("llm_cost_ops", error).body == {
        "error": {"code": "NOT_FOUND", "message": "No such record."},
        "request_id": "req_1",
    }


def test_cost_ops_rate_limit() -> None:
    details = a_limit(limit=1000, window="hour", resets_at=at("2025-11-16T11:00:00Z").timestamp())
    message = "Rate limit exceeded. Try again in 3600 seconds."
    error = GatewayError(Kind.RATE_LIMITED, "rate_limit_exceeded", message, retry_after=3600, details=details)
    status, body, headers = rendered("llm_cost_ops", error)
    assert status == 429
    assert body["error"] == {
        "code": "TOO_MANY_REQUESTS",
        "message": message,
        "details": {"limit": 1000, "remaining": 0, "reset_at": "2025-11-16T11:00:00Z"},
    }
    assert headers["retry-after"] == "3600"


@pytest.mark.parametrize(("window", "code"), [("10s", "BURST"), ("second", "BURST"), ("minute", "TOO"), (None, "TOO")])
def test_cost_ops_tells_bursts_apart(window: str | None, code: str) -> None:
    error = limited(window=window)
    assert rendered("llm_cost_ops", error).body["error"]["code"].startswith(code)


def test_cost_ops_validation() -> None:
    faults = (
        FieldFault("organization_id", "must not be empty", "LENGTH_MIN"),
        FieldFault("input_tokens", "must be greater than or equal to 0", "RANGE_MIN"),
    )
    error = GatewayError(Kind.INVALID, "validation_error", "Request validation failed", invalid=faults)
    status, body, _ = rendered("llm_cost_ops", error)
    assert (status, body) == (
        422,
        {
            "error": {
                "code": "VALIDATION_ERROR",
                "message": "Request validation failed",
                "details": [
                    {"field": "organization_id", "message": "must not be empty", "code": "LENGTH_MIN"},
                    {"field": "input_tokens", "message": "must be greater than or equal to 0", "code": "RANGE_MIN"},
                ],
            },
            "request_id": "req_1",
        },
    )


@pytest.mark.parametrize(
    ("kind", "code", "status", "shown"),
    [
        (Kind.UNAUTHENTICATED, "invalid_api_key", 401, "INVALID_API_KEY"),
        (Kind.UNAUTHENTICATED, "invalid_credentials", 401, "INVALID_CREDENTIALS"),
        (Kind.UNAUTHENTICATED, "invalid_token", 401, "INVALID_TOKEN"),
        (Kind.UNAUTHENTICATED, "token_expired", 401, "TOKEN_EXPIRED"),
        (Kind.UNAUTHENTICATED, "missing_api_key", 401, "MISSING_CREDENTIALS"),
        (Kind.FORBIDDEN, "insufficient_permissions", 403, "INSUFFICIENT_PERMISSIONS"),
        (Kind.INVALID, "invalid_date_range", 422, "INVALID_DATE_RANGE"),
        (Kind.INVALID, "invalid_provider", 422, "INVALID_PROVIDER"),
        (Kind.INVALID, "invalid_model", 422, "INVALID_MODEL"),
        (Kind.INVALID, "missing_required_field", 422, "MISSING_REQUIRED_FIELD"),
        (Kind.INVALID, "invalid_json", 400, "BAD_REQUEST"),
        (Kind.NOT_FOUND, "organization_not_found", 404, "NOT_FOUND"),
        (Kind.CONFLICT, "already_exists", 409, "ALREADY_EXISTS"),
        (Kind.CONFLICT, "version_conflict", 409, "CONFLICT"),
        (Kind.RATE_LIMITED, "burst_limit_exceeded", 429, "BURST_LIMIT_EXCEEDED"),
        (Kind.INTERNAL, "internal_error", 500, "INTERNAL_SERVER_ERROR"),
        (Kind.INTERNAL, "database_error", 500, "DATABASE_ERROR"),
        (Kind.UNAVAILABLE, "service_unavailable", 503, "SERVICE_UNAVAILABLE"),
        (Kind.PAYMENT_REQUIRED, "insufficient_credits", 402, "PAYMENT_REQUIRED"),
    ],
)
def test_cost_ops_codes(kind: Kind, code: str, status: int, shown: str) -> None:
    got = rendered("llm_cost_ops", GatewayError(kind, code, "What it is."))
    assert (got.status, got.body["error"]["code"]) == (status, shown)


def test_ai_marketplace() -> None:
    error = GatewayError(Kind.INVALID, "validation_error", "Human-readable error description")
    assert rendered("ai_marketplace", error, at("2024-01-01T12:00:00Z")) == (
        400,
        {
            "error": "Validation Error",
            "message": "Human-readable error description",
            "code": "VALIDATION_ERROR",
            "details": {},
            "timestamp": "2024-01-01T12:00:00Z",
            "requestId": "req_1",
        },
        {},
    )


def test_ai_marketplace_rate_limit() -> None:
    message = "Maximum 100 requests per minute for Developer tier"
    details = a_limit(plan="app_developer", tier="DEVELOPER")
    error = GatewayError(Kind.RATE_LIMITED, "rate_limit_exceeded", message, retry_after=7, details=details)
    status, body, headers = rendered("ai_marketplace", error)
    assert status == 429
    assert (
        body.items()
        >= {
            "error": "Rate Limit Exceeded",
            "message": message,
            "remainingRequests": 0,
            "rateLimitReset": "2024-01-01T00:00:00Z",
            "tier": "DEVELOPER",
        }.items()
    )
    assert body["code"] == "RATE_LIMIT_EXCEEDED"
    assert headers["x-ratelimit-period"] == "minute"


def test_ai_marketplace_quota() -> None:
    upgrade = Upgrade("professional", 199_000_000_000, ("Batch routing",))
    error = limited(Kind.QUOTA_EXCEEDED, "quota_exceeded", window="month", resets_at=SOME_MONTH, upgrades=(upgrade,))
    status, body, _ = rendered("ai_marketplace", error)
    assert (status, body["code"], body["error"]) == (429, "QUOTA_EXCEEDED", "Quota Exceeded")
    assert body["details"] == {
        "usage": 100,
        "limit": 100,
        "resetDate": "2025-02-01T00:00:00Z",
        "tier": "DEVELOPER",
        "upgradeOptions": [{"tier": "PROFESSIONAL", "monthlyPrice": 199.0, "benefits": ["Batch routing"]}],
    }


@pytest.mark.parametrize(
    ("kind", "code", "status", "shown"),
    [
        (Kind.UNAUTHENTICATED, "missing_api_key", 401, "AUTHENTICATION_FAILED"),
        (Kind.UNAUTHENTICATED, "invalid_credentials", 401, "INVALID_CREDENTIALS"),
        (Kind.UNAUTHENTICATED, "app_not_found", 401, "APP_NOT_FOUND"),
        (Kind.SUSPENDED, "account_suspended", 403, "APP_SUSPENDED"),
        (Kind.FORBIDDEN, "feature_not_available", 403, "FEATURE_NOT_AVAILABLE"),
        (Kind.INTERNAL, "boom", 500, "INTERNAL_ERROR"),
        (Kind.INTERNAL, "ml_routing_failed", 500, "ML_ROUTING_FAILED"),
    ],
)
def test_ai_marketplace_codes(kind: Kind, code: str, status: int, shown: str) -> None:
    got = rendered("ai_marketplace", GatewayError(kind, code, "What it is."))
    assert (got.status, got.body["code"]) == (status, shown)


def test_leanvibe() -> None:
    error = GatewayError(
        Kind.INVALID,
        "anything",
        "Human-readable error message",
        invalid=(FieldFault("specific_field_with_error", "Field is required"),),
    )
    assert rendered("leanvibe", error).body == {
        "error": "invalid_request",
        "message": "Human-readable error message",
        "details": {"field": "specific_field_with_error", "validation_errors": ["Field is required"]},
        "request_id": "req_1",
        "timestamp": "2025-01-09T10:30:00Z",
    }


def test_leanvibe_quota() -> None:
    details = a_limit(
        limit=100_000,
        used=100_000,
        window="month",
        resets_at=SOME_MONTH,
        upgrades=(Upgrade("enterprise", 800_000_000_000, ("Unlimited API calls", "Priority support")),),
    )
    error = GatewayError(Kind.QUOTA_EXCEEDED, "quota_exceeded", "Monthly API quota exceeded", details=details)
    status, body, _ = rendered("leanvibe", error)
    assert status == 429
    assert {key: body[key] for key in ("error", "message", "details", "upgrade_options")} == {
        "error": "quota_exceeded",
        "message": "Monthly API quota exceeded",
        "details": {
            "quota_type": "api_calls",
            "current_usage": 100000,
            "quota_limit": 100000,
            "reset_date": "2025-02-01T00:00:00Z",
        },
        "upgrade_options": [
            {"plan": "enterprise", "monthly_price": 80000, "benefits": ["Unlimited API calls", "Priority support"]}
        ],
    }


@pytest.mark.parametrize(
    ("kind", "status", "shown"),
    [
        (Kind.INVALID, 400, "invalid_request"),
        (Kind.UNAUTHENTICATED, 401, "unauthorized"),
        (Kind.FORBIDDEN, 403, "forbidden"),
        (Kind.NOT_FOUND, 404, "not_found"),
        (Kind.QUOTA_EXCEEDED, 429, "quota_exceeded"),
        (Kind.RATE_LIMITED, 429, "quota_exceeded"),
        (Kind.INTERNAL, 500, "server_error"),
        (Kind.UNAVAILABLE, 503, "service_unavailable"),
        (Kind.SUSPENDED, 451, "tenant_suspended"),
        (Kind.PAYMENT_REQUIRED, 402, "payment_required"),
    ],
)
def test_leanvibe_codes(kind: Kind, status: int, shown: str) -> None:
    got = rendered("leanvibe", GatewayError(kind, "anything", "What it is."))
    assert (got.status, got.body["error"]) == (status, shown)


def test_ops_center() -> None:
    error = GatewayError(Kind.NOT_FOUND, "user_not_found", "Error message describing what went wrong")
    assert rendered("ops_center", error).body == {
        "detail": "Error message describing what went wrong",
        "error_code": "USER_NOT_FOUND",
        "status_code": 404,
    }
    invalid = GatewayError(Kind.INVALID, "invalid_email", "No email address.", "email")
    assert rendered("ops_center", invalid).status == 422
    assert rendered("ops_center", GatewayError(Kind.INVALID, "invalid_json", "No JSON.")).status == 400


@pytest.mark.parametrize("reference", ["gatewayz", "ops_center"])
def test_several_faults_in_one_sentence(reference: Reference) -> None:
    faults = (FieldFault("a", "is missing"), FieldFault("b.0", "must be 1"))
    error = GatewayError(Kind.INVALID, "validation_error", "Two faults.", invalid=faults)
    assert rendered(reference, error).body["detail"] == "Two faults. a: is missing; b.0: must be 1"


def test_openai() -> None:
    error = GatewayError(Kind.INVALID, "invalid_type", "Expected a list.", "messages")
    assert rendered("openai", error).body == {
        "error": {
            "message": "Expected a list.",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "invalid_type",
        }
    }


# what they have in common


@pytest.mark.parametrize("reference", ["openai", "gatewayz", "ops_center", "llm_cost_ops"])
def test_a_used_up_quota_tells_usage_limit_reset_and_upgrades(reference: Reference) -> None:
    upgrade = Upgrade("team", 49_500_000_000)
    error = limited(Kind.QUOTA_EXCEEDED, "quota_exceeded", resets_at=SOME_MONTH, window="month", upgrades=(upgrade,))
    body = rendered(reference, error).body
    told = body.get("error", body)
    told = told.get("details", told)
    assert (told["usage"], told["limit"]) == (100, 100)
    assert told.get("reset_date", told.get("reset_at")) == "2025-02-01T00:00:00Z"
    assert told["upgrade_options"] == [{"plan": "team", "monthly_price": 49.5, "benefits": []}]


@pytest.mark.parametrize("reference", REFERENCES)
def test_headers_of_a_refusal(reference: Reference) -> None:
    assert rendered(reference, limited()).headers == {
        "x-ratelimit-limit": "100",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": "1704067200",
        "x-ratelimit-period": "minute",
        "x-ratelimit-window": "60",
        "x-ratelimit-retry-after": "31",
        "retry-after": "31",
    }


@pytest.mark.parametrize("reference", REFERENCES)
def test_money_is_told_in_dollars(reference: Reference) -> None:
    error = limited(
        Kind.PAYMENT_REQUIRED,
        "insufficient_credits",
        metric="cost",
        limit=12_500_000_000,
        used=12_500_000_000,
        window="total",
        resets_at=float("inf"),
        source="credit",
    )
    status, body, headers = rendered(reference, error)
    assert status == 402
    assert "12.5" in str(body)
    assert headers["x-ratelimit-limit"] == "12.5"
    assert headers["x-ratelimit-remaining"] == "0"
    assert "x-ratelimit-reset" not in headers
    assert "x-ratelimit-window" not in headers


@pytest.mark.parametrize("reference", REFERENCES)
def test_401_says_how_to_authenticate_and_503_when_to_come_back(reference: Reference) -> None:
    unknown = rendered(reference, GatewayError(Kind.UNAUTHENTICATED, "invalid_api_key", "Unknown key."))
    assert unknown.headers == {"www-authenticate": 'Bearer realm="gateway"'}
    down = rendered(reference, GatewayError(Kind.UNAVAILABLE, "service_unavailable", "Down.", retry_after=0.1))
    assert (down.status, down.headers) == (503, {"retry-after": "1"})


def test_a_table_without_every_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="CONFLICT"):
        Table({kind: (500, "") for kind in Kind if kind is not Kind.CONFLICT})


_limits = st.builds(
    LimitDetails,
    metric=st.sampled_from(["requests", "tokens", "cost", "concurrency", "ai_requests"]),
    scope=st.text(max_size=5),
    scope_id=st.text(max_size=5),
    limit=st.integers(0, 10**18),
    used=st.integers(0, 10**18),
    remaining=st.integers(-(10**18), 10**18),
    window=st.sampled_from([None, "10s", "minute", "5m", "day", "week", "month", "3month", "year", "total"]),
    resets_at=st.none() | st.floats(0, 4e9) | st.just(float("inf")),
    plan=st.none() | st.text(max_size=5),
)
_errors = st.builds(
    GatewayError,
    st.sampled_from(Kind),
    st.text(max_size=10),
    st.text(max_size=20),
    st.none() | st.text(max_size=5),
    retry_after=st.none() | st.floats(0, 1e9),
    details=st.none() | _limits,
    invalid=st.lists(st.builds(FieldFault, st.text(max_size=5), st.text(max_size=5)), max_size=3),
)


@given(st.sampled_from(list(RENDERERS)), _errors)
def test_any_error_can_be_told(reference: Reference, error: GatewayError) -> None:
    status, body, headers = rendered(reference, error)
    assert 400 <= status <= 599
    assert error.message in str(body) or repr(error.message)[1:-1] in str(body)
    assert all(name == name.lower() and value.isprintable() for name, value in headers.items())
    assert int(headers.get("x-ratelimit-remaining", "0").partition(".")[0]) >= 0
