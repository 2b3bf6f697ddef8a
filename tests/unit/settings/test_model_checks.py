"""What a model names beside its targets, and what is known of targets by their names."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.settings.kinds import IN_ENGINE
from gateway.settings.known_targets import Facts, capabilities_of, facts_of, known_of
from gateway.settings.model import LlamaCpp, Provider, Target
from tests.unit.settings.conftest import Faults, Read

PROVIDERS = """
providers: [{name: p, base_url: 'http://a/v1'}, {name: q, base_url: 'http://b/v1'}]
pricing: [{provider: q, model: y, input_per_1k: 1, output_per_1k: 1}]
"""


def models(*lines: str) -> str:
    return PROVIDERS + "models:\n" + "".join(f"- {{{line}}}\n" for line in lines)


M = "name: m, targets: [{provider: p, model: x}]"
N = "name: n, targets: [{provider: q, model: y}]"
CASES = [
    ((f"{M}, split: [{{model: nn, share: 0.1}}]", N), "models[0].split[0].model", 'no model "nn"', '"n"'),
    ((f"{M}, split: [{{model: m, share: 0.1}}]", N), "models[0].split[0].model", "the model itself", "another model"),
    ((f"{M}, split: [{{model: n, share: 0.7}}, {{model: n, share: 0.4}}]", N), "models[0].split", "add up to 1.1", "1"),
    ((f"{M}, split: [{{model: n, share: 0}}]", N), "models[0].split[0].share", "more than 0", None),
    ((f"{M}, split: [{{model: n, share: 2}}]", N), "models[0].split[0].share", "at most 1", None),
    ((f"{M}, split: [{{model: n, share: 0.5, by: day}}]", N), "models[0].split[0].by", "one of", None),
    (
        (f"{M}, split: [{{model: n, share: 0.1}}]", f"{N}, split: [{{model: m, share: 0.1}}]"),
        "models[0].split[0].model",
        "is split itself",
        "models that answer",
    ),
    ((f"{M}, shadow: {{model: nn, budget: 1}}", N), "models[0].shadow.model", 'no model "nn"', '"n"'),
    ((f"{M}, shadow: {{model: m, budget: 1}}", N), "models[0].shadow.model", "its own shadow", "another model"),
    ((f"{M}, shadow: {{model: n}}", N), "models[0].shadow.budget", "required", None),
    ((f"{N}, shadow: {{model: m, budget: 1}}", M), "models[0].shadow.model", "has no price", "add it to pricing"),
    ((f"{M}, hedge: {{}}",), "models[0].hedge", "needs a second target", "a target or a fallback"),
    ((f"{M}, hedge: {{share: 1.5}}, fallbacks: [n]", N), "models[0].hedge.share", "at most 1", None),
    ((f"{M}, strategy: least_cost",), "models[0].strategy", "none of the targets has one", "pricing"),
    ((f"{M}, routing: {{exploration: 0.1}}",), "models[0].routing", "for the strategy ml", "shadow: true"),
    ((f"{M}, strategy: ml, routing: {{margin: 2}}",), "models[0].routing.margin", "at most 1", None),
    ((f"{M}, stream_recovery: retry",), "models[0].stream_recovery", "one of", None),
    ((f"{M}, affinity: session",), "models[0].affinity", "one of", None),
    (("name: m, targets: [{provider: p, model: x, prefill: true}]",), "models[0].targets[0].prefill", "expected", None),
    (("name: m, targets: [{provider: p, model: x, tools: 1}]",), "models[0].targets[0].tools", "expected", None),
    (
        ("name: m, targets: [{provider: p, model: x, context_length: 0}]",),
        "models[0].targets[0].context_length",
        "at least 1",
        None,
    ),
    (
        (
            "name: n, targets: [{provider: q, model: x, tools: true}, {provider: p, model: x, tools: false}]",
            "name: o, targets: [{provider: p, model: x, tools: true}]",
        ),
        "models[1].targets[0].tools",
        "something else is said elsewhere",
        "models[0].targets[1].tools",
    ),
]


@pytest.mark.parametrize(("lines", "path", "message", "hint"), CASES)
def test_each_fault(faults_of: Faults, lines: tuple[str, ...], path: str, message: str, hint: str | None) -> None:
    faults = faults_of(models(*lines))
    assert path in faults
    assert message in faults[path].message
    assert hint is None or hint in str(faults[path].hint)


def test_targets_without_a_name_do_not_contradict_each_other(faults_of: Faults) -> None:
    found = faults_of(models("name: m, targets: [{provider: p, tools: true}, {provider: p, tools: false}]"))
    assert sorted(found) == ["models[0].targets[0].model", "models[0].targets[1].model"]


def test_what_fits_is_taken(read_text: Read) -> None:
    settings = read_text(
        models(
            f"{M}, split: [{{model: n, share: 0.25, by: organization}}], shadow: {{model: n, budget: 2.5}}",
            f"{N}, strategy: least_cost, hedge: {{after: 1.5}}, fallbacks: [o], stream_recovery: restart",
            "name: o, strategy: least_latency, targets: [{provider: p, model: x, vision: false, prefill: prefix}]",
        )
    ).settings
    first, second, third = settings.models
    assert (first.split[0].share, first.split[0].by) == (0.25, "organization")
    assert first.shadow is not None
    assert (first.shadow.budget, first.shadow.share, first.shadow.concurrency) == (2.5, 1.0, 8)
    assert second.hedge is not None
    assert (second.hedge.after, second.hedge.share, second.stream_recovery) == (1.5, 0.05, "restart")
    assert (third.targets[0].vision, third.targets[0].tools, third.targets[0].prefill) == (False, None, "prefix")
    assert third.affinity == "prompt"


LIMITS = [
    ("concurrency: {min: 9, max: 3}", "concurrency.min", "min is 9, but max is only 3", "the same"),
    ("concurrency: {initial: 9, max: 3}", "concurrency.initial", "max is only 3", None),
    ("concurrency: {initial: 2, min: 5}", "concurrency.initial", "min is 5", None),
    ("concurrency: {max: 0}", "concurrency.max", "at least 1", None),
    ("concurrency: {tolerance: 1}", "concurrency.tolerance", "at least 1.1", None),
    ("concurrency: {limit: 5}", "concurrency.limit", "unknown key", None),
    ("concurrency: 5", "concurrency", "expected a mapping", None),
]


@pytest.mark.parametrize(("line", "path", "message", "hint"), LIMITS)
def test_each_fault_of_a_limit_on_calls(
    faults_of: Faults, line: str, path: str, message: str, hint: str | None
) -> None:
    faults = faults_of(f"providers: [{{name: p, base_url: 'http://a/v1', {line}}}]\nmodels: []\n")
    fault = faults[f"providers[0].{path}"]
    assert message in fault.message
    assert hint is None or hint in str(fault.hint)


def test_a_limit_on_calls_is_taken(read_text: Read) -> None:
    text = (
        "providers: [{name: p, base_url: 'http://a/v1', concurrency: {max: 2}}, {name: q, base_url: 'http://b/v1'}]\n"
    )
    loaded = read_text(text + "plans: [{name: pro, weight: 4}, {name: free}]\nmodels: []\n")
    limit = loaded.settings.providers[0].concurrency
    assert limit is not None
    assert (limit.min, limit.max, limit.initial, limit.queue) == (4, 2, None, 1000)
    assert loaded.settings.providers[1].concurrency is None
    assert [plan.weight for plan in loaded.settings.plans if not isinstance(plan, str)] == [4.0, 1.0]
    assert not loaded.warnings


def test_a_limit_that_connections_make_useless_is_doubted(read_text: Read) -> None:
    provider = "{name: p, base_url: 'http://a/v1', connections: {max: 5}, concurrency: {max: 9, min: 6}}"
    (warning,) = read_text(f"providers: [{provider}]\nmodels: []\n").warnings
    assert warning.path == "providers[0].concurrency.min"
    assert "connections.max of the provider is 5" in warning.message


UP = Provider(name="p", base_url="http://a/v1")


@pytest.mark.parametrize(
    ("name", "context", "vision", "prefill"),
    [
        ("gpt-4o-mini", 128_000, True, "none"),
        ("openai/GPT-4o-2024-08-06", 128_000, True, "none"),
        ("gpt-4", 8_192, False, "none"),
        ("claude-3-5-sonnet-20241022", 200_000, True, "message"),
        ("mistral-large-latest", None, True, "prefix"),
        ("meta-llama/Llama-3.1-8B-Instruct", 131_072, False, "none"),
        ("gpt-4o-of-ours", None, True, "none"),
        ("x", None, True, "none"),
    ],
)
def test_known_models(name: str, context: int | None, vision: bool, prefill: str) -> None:
    known = capabilities_of(Target(provider="p", model=name), UP)
    assert (known.context_length, known.vision, known.prefill) == (context, vision, prefill)
    assert known == known_of(name)


def test_the_file_knows_better() -> None:
    target = Target(provider="p", model="gpt-4", context_length=32_768, vision=True, tools=False, prefill="message")
    known = capabilities_of(target, UP)
    assert (known.context_length, known.vision, known.tools, known.prefill) == (32_768, True, False, "message")
    assert known.json_schema is False


def test_a_local_model_has_the_engines_context_and_no_eyes() -> None:
    local = Provider(name="l", kind="llama_cpp", model="tiny", llama_cpp=LlamaCpp(context_length=2_048))
    known = capabilities_of(Target(provider="l", model="tiny"), local)
    assert (known.context_length, known.vision, known.tools) == (2_048, False, True)


@pytest.mark.parametrize(
    ("kind", "target", "facts"),
    [
        ("openai", {"model": "my-own"}, Facts()),
        ("openai", {"model": "my-own", "tools": True, "vision": False}, Facts(tools=True, vision=False)),
        ("openai", {"model": "openai/gpt-4"}, Facts(8_192, True, False, False)),
        ("openai", {"model": "gpt-4", "context_length": 9, "vision": True}, Facts(9, True, True, False)),
        ("xai", {"model": "x"}, Facts(refused=("logit_bias", "size", "style"))),
        ("llama_cpp", {"model": "tiny"}, Facts(4_096, True, False, True, IN_ENGINE.unsupported)),
    ],
)
def test_what_is_known_of_a_target_and_not_taken_for_granted(kind: str, target: dict[str, Any], facts: Facts) -> None:
    assert facts_of(Target(provider="p", **target), Provider(name="p", kind=kind)) == facts


def test_a_kind_knows_what_all_its_models_take() -> None:
    facts = facts_of(Target(provider="p", model="sonar"), Provider(name="p", kind="perplexity"))

    assert facts.tools is False
    assert facts.vision is None
    assert "tools" in facts.refused
