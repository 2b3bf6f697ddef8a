"""Every documented operation belongs to its reference; what is unknown, to the reference of what is known around it."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.owners import REFERENCES, Operation, operations, owner_of

# Inference, and what two references name: see the table of collisions in docs/architecture.md.
SHARED = {
    ("gatewayz", "GET", "/models"): "openai",
    ("gatewayz", "POST", "/v1/chat/completions"): "openai",
    ("gatewayz", "POST", "/v1/responses"): "openai",
    ("ops_center", "POST", "/api/v1/llm/chat/completions"): "openai",
    ("ops_center", "GET", "/api/v1/llm/models"): "openai",
    ("llm_cost_ops", "GET", "/health"): "gatewayz",
    ("leanvibe", "POST", "/api/v1/auth/login"): "llm_cost_ops",
    ("ai_marketplace", "GET", "/v1/billing/usage"): "leanvibe",
}


def test_all_operations_are_listed() -> None:
    counted = Counter(each.reference for each in operations())
    assert counted == {"gatewayz": 48, "llm_cost_ops": 35, "ai_marketplace": 9, "leanvibe": 49, "ops_center": 20}
    assert len({(each.reference, each.method, each.path) for each in operations()}) == 161


@pytest.mark.parametrize("operation", operations(), ids=lambda o: f"{o.reference} {o.method} {o.path}")
def test_an_operation_belongs_to_its_reference(operation: Operation) -> None:
    wanted = SHARED.get((operation.reference, operation.method, operation.path), operation.reference)
    filled = operation.path.replace("{", "").replace("}", "-1")
    for path in (operation.path, filled, filled + "/"):
        assert owner_of(operation.method, path) == wanted


def test_usage_of_an_app_is_told_as_ai_marketplace_does() -> None:
    assert owner_of("GET", "/v1/billing/usage", app=True) == "ai_marketplace"
    assert owner_of("GET", "/v1/billing/usage/", app=True) == "ai_marketplace"
    assert owner_of("GET", "/v1/billing/usage") == "leanvibe"
    assert owner_of("POST", "/v1/billing/usage", app=True) == "leanvibe"
    assert owner_of("GET", "/v1/billing/plans", app=True) == "leanvibe"


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/", "openai"),
        ("", "openai"),
        ("/nothing", "openai"),
        ("/api", "openai"),
        ("/v1", "openai"),
        ("/v1/nothing", "openai"),
        ("/v1/chat", "openai"),
        ("/v1/chat/completions/x", "openai"),
        ("/v1/images/generations", "openai"),
        ("/chat/completions", "openai"),
        ("/chat/nothing", "gatewayz"),
        ("/images/edits", "openai"),
        ("/images/generate/x", "gatewayz"),
        ("/models/a/b", "openai"),
        ("/models/providers", "gatewayz"),
        ("/api/v1/llm/nothing", "openai"),
        ("/api/v1/nothing", "llm_cost_ops"),
        ("/api/v1/auth/nothing", "llm_cost_ops"),
        ("/api/v1/admin/nothing", "ops_center"),
        ("/api/v1/billing/nothing", "ops_center"),
        ("/api/v1/billing/webhooks/nothing", "leanvibe"),
        ("/api/stripe/nothing", "gatewayz"),
        ("/admin/nothing", "gatewayz"),
        ("/admin/platform/nothing", "ops_center"),
        ("/user", "gatewayz"),
        ("/v1/tenants/t/nothing", "leanvibe"),
        ("/v1/billing/nothing", "leanvibe"),
        ("/v1/admin/nothing", "leanvibe"),
        ("/v1/apps", "ai_marketplace"),
        ("/v1/ml/nothing", "ai_marketplace"),
        ("/v1/stream/nothing", "llm_cost_ops"),
        ("/oauth/nothing", "llm_cost_ops"),
        ("/realms/nothing", "ops_center"),
    ],
)
def test_an_unknown_path_belongs_to_its_longest_known_prefix(path: str, owner: str) -> None:
    assert owner_of("GET", path) == owner


@given(st.text(max_size=10), st.text(max_size=200))
def test_every_path_has_an_owner(method: str, path: str) -> None:
    assert owner_of(method, path) in REFERENCES
