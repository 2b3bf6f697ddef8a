"""A model as lists of models tell it: OpenAI's fields, and those of OpenRouter's list beside them (its "Models API").

Of each thing the configuration's word goes before what others tell, and what nobody tells is left out. Several targets
are told as one model: its context is the largest of theirs and it can do what any of them can, because a request goes
to a target that it fits; the price is that of the first one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.contract.catalogue import Details, author_of
from gateway.dataplane.pricing import Pricing, held_rates
from gateway.kernel.rates import NANOS, UNITS
from gateway.settings.known_targets import Facts

if TYPE_CHECKING:
    from gateway.dataplane.routing import Route
    from gateway.dataplane.target import Target

Json = dict[str, Any]
# OpenRouter's names of prices, and the rates they are.
_PRICES: Final = {
    "prompt": "input",
    "completion": "output",
    "request": "request",
    "image": "image",
    "audio": "input_audio",
    "input_cache_read": "cached_input",
    "input_cache_write": "cache_write",
    "internal_reasoning": "reasoning",
}
_TOOLS: Final = ("tools", "tool_choice")
_SCHEMA: Final = ("response_format", "structured_outputs")


NOBODY: Final = "gateway"
"""Who owns ``auto``, and has made it."""


class Told(NamedTuple):
    """A target with what the configuration says of it and what others do."""

    target: Target
    facts: Facts
    details: Details

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and answer together."""
        return self.facts.context_length or self.details.context_length

    @property
    def inputs(self) -> tuple[str, ...] | None:
        """What it takes: ``text``, ``image`` and so on."""
        told, vision = self.details.input_modalities, self.facts.vision
        if vision is None:
            return told
        others = tuple(word for word in told or ("text",) if word != "image")
        return (*others, "image") if vision else others

    @property
    def parameters(self) -> tuple[str, ...] | None:
        """Parameters of a chat that it takes."""
        told, facts = self.details.parameters, self.facts
        if told is None and facts.tools is None and facts.json_schema is None:
            return None
        kept = dict.fromkeys(told or ())
        for has, names in ((facts.tools, _TOOLS), (facts.json_schema, _SCHEMA)):
            if has:
                kept.update(dict.fromkeys(names))
            elif has is False:
                kept = {name: None for name in kept if name not in names}
        return tuple(name for name in kept if name not in facts.refused)


def described(route: Route, targets: Sequence[Told], created: int, now: float) -> Json:
    """One model of ``GET /v1/models``. ``created`` and ``now`` are Unix seconds."""
    first = targets[0]
    found = {
        "id": route.name,
        "object": "model",
        "created": created,
        "owned_by": first.target.provider.name,
        "name": first.details.name,
        "context_length": route.context_length or max(told.context_length or 0 for told in targets) or None,
        "architecture": _architecture(targets),
        "pricing": prices_of(first.target.rate, now) or first.details.prices or None,
        "top_provider": _without_unknown(
            {
                "context_length": first.context_length,
                "max_completion_tokens": first.details.max_output,
                "is_moderated": first.details.moderated,
            }
        ),
        "supported_parameters": _together(told.parameters for told in targets),
    }
    return _without_unknown(found) or {}


def chosen_among(route: Route, targets: Sequence[Told], created: int, now: float) -> Json:
    """``auto``, which is nobody's: what it costs, and who answers, is told with each answer."""
    found = described(route, targets, created, now)
    return {
        **{name: value for name, value in found.items() if name not in ("name", "pricing", "top_provider")},
        "owned_by": NOBODY,
    }


def prices_of(rate: Pricing | None, now: float) -> dict[str, str]:
    """What one token, request or image costs, in US dollars as decimal texts; nothing where no price holds."""
    held = held_rates(rate, now)
    if held is None:
        return {}
    rates, fx_rate = held
    return {name: _dollars(rates[kind] * fx_rate) for name, kind in _PRICES.items() if kind in rates}


def _dollars(nanos: int) -> str:
    price = Decimal(nanos) / (NANOS * UNITS * NANOS)
    return format(price.normalize(), "f") if nanos else "0"


def _architecture(targets: Sequence[Told]) -> Json | None:
    inputs = _together(told.inputs for told in targets)
    outputs = _together(told.details.output_modalities for told in targets)
    modality = f"{'+'.join(inputs)}->{'+'.join(outputs)}" if inputs and outputs else None
    return _without_unknown({"modality": modality, "input_modalities": inputs, "output_modalities": outputs})


def _together(words: Iterable[tuple[str, ...] | None]) -> list[str] | None:
    """What any target has; None where nobody tells of any."""
    known = [each for each in words if each is not None]
    return list(dict.fromkeys(word for each in known for word in each)) if known else None


def _without_unknown(values: Mapping[str, Any]) -> Json | None:
    return {name: value for name, value in values.items() if value is not None} or None


def as_gatewayz(model: Json, route: Route) -> Json:
    """The same with the fields of Gatewayz' list: a name, who made the model, and prices as numbers."""
    first = route.targets[0]
    author = NOBODY
    if model.get("owned_by") != NOBODY:
        author = author_of(route.name, first.model, first.provider.name, first.provider.kind)
    told = {**model, "name": model.get("name", route.name), "provider": author}
    if "pricing" in model:
        told["pricing"] = {name: float(price) for name, price in model["pricing"].items()}
    return told
