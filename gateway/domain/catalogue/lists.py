"""The providers' lists of models as their APIs give them, page by page: pure functions.

Sources: OpenAI "List models", OpenRouter "Models", Mistral "List Models", Groq, vLLM and others that add fields to
OpenAI's; Anthropic "List Models"; Gemini ``models.list``; Cohere "List Models"; Bedrock ``ListFoundationModels``.
What a field does not say plainly is not read: prices, for one, are told per token by OpenRouter's texts alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple, TypeAlias

from gateway.contract.catalogue import Details

Json: TypeAlias = dict[str, Any]
_LONGEST: Final = 256  # characters of a name; a longer one is left out
_WORDS: Final = 64  # words of a list
_CONTEXTS: Final = ("context_length", "context_window", "max_context_length", "max_model_len", "max_input_tokens")
_OUTPUTS: Final = ("max_completion_tokens", "max_output_tokens", "max_output_length")
_PRICES: Final = frozenset(
    ("prompt", "completion", "request", "image", "audio", "input_cache_read", "input_cache_write", "internal_reasoning")
)
_TOOLS: Final = ("tools", "tool_choice")
_SCHEMA: Final = ("response_format", "structured_outputs")


class NoList(ValueError):
    """What was answered is no list of models."""


class Page(NamedTuple):
    """Models by the provider's names, and what tells the next page; None on the last one."""

    models: dict[str, Details]
    following: str | None = None


class ListApi(NamedTuple):
    """How an API lists its models: ``query`` of the first page, and the parameter that ``following`` goes in; where
    there is none, ``following`` is the URL of the next page itself. ``headers`` are added to each request.
    """

    read: Callable[[Any], Page]
    query: str = ""
    cursor: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def _openai(document: Any) -> Page:
    items = document if isinstance(document, list) else _items(document, "data")  # Together's is a bare list
    models: dict[str, Details] = {}
    for item in _objects(items):
        details = _described(item)
        for name in (_text(item.get("id")), *_words(item.get("aliases"), lower=False)):
            if name is not None:
                models.setdefault(name, details)
    links = _object(_object(document).get("links"))
    following = links.get("next")
    return Page(models, following if isinstance(following, str) and following else None)


def _described(item: Json) -> Details:
    shape, top, more = (_object(item.get(name)) for name in ("architecture", "top_provider", "metadata"))
    has = _object(item.get("capabilities"))
    inputs = _words(shape.get("input_modalities") or item.get("input_modalities"))
    vision = _first_flag(has.get("vision"), item.get("supports_image_input"))
    if not inputs and vision is not None:
        inputs = ("text", "image") if vision else ("text",)
    parameters = _words(item.get("supported_parameters"))
    if not parameters and _first_flag(has.get("function_calling"), item.get("supports_tools")):
        parameters = _TOOLS
    return Details(
        name=_text(item.get("name")) or _text(item.get("display_name")),
        context_length=_first_count(source.get(name) for name in _CONTEXTS for source in (item, top, more)),
        max_output=_first_count(source.get(name) for name in _OUTPUTS for source in (top, item)),
        input_modalities=inputs or None,
        output_modalities=_words(shape.get("output_modalities") or item.get("output_modalities")) or None,
        parameters=parameters or None,
        prices=_prices(item.get("pricing")),
        moderated=_first_flag(top.get("is_moderated")),
    )


def _anthropic(document: Any) -> Page:
    models = {}
    for item in _objects(_items(document, "data")):
        name = _text(item.get("id"))
        has = _object(item.get("capabilities"))
        if name is not None:
            sees, reads = (_supported(has, each) for each in ("image_input", "pdf_input"))
            inputs = ("text", *(["image"] if sees else []), *(["file"] if reads else []))
            schema = _supported(has, "structured_outputs")
            models[name] = Details(
                name=_text(item.get("display_name")),
                context_length=_count(item.get("max_input_tokens")),
                max_output=_count(item.get("max_tokens")),
                input_modalities=None if sees is None else inputs,
                output_modalities=("text",),
                parameters=(*_TOOLS, *_SCHEMA) if schema else _TOOLS,  # every model of this API takes tools
            )
    following = document.get("last_id") if document.get("has_more") is True else None
    return Page(models, _text(following))


def _gemini(document: Any) -> Page:
    models = {}
    for item in _objects(_items(document, "models", missing=True)):
        name = _text(item.get("name"))
        if name is not None:
            models[name.removeprefix("models/")] = Details(
                name=_text(item.get("displayName")),
                context_length=_count(item.get("inputTokenLimit")),
                max_output=_count(item.get("outputTokenLimit")),
            )
    return Page(models, _text(document.get("nextPageToken")))


def _cohere(document: Any) -> Page:
    models = {}
    for item in _objects(_items(document, "models")):
        name = _text(item.get("name"))
        if name is not None:
            features = _words(item.get("features"))
            vision = "vision" in features or _first_flag(item.get("supports_vision"))
            tools = _TOOLS if "tools" in features else ()
            schema = _SCHEMA if "json_schema" in features else ()
            models[name] = Details(
                context_length=_count(item.get("context_length")),
                input_modalities=None if vision is None else ("text", "image") if vision else ("text",),
                parameters=(*tools, *schema) or None,
            )
    return Page(models, _text(document.get("next_page_token")))


def _bedrock(document: Any) -> Page:
    models = {}
    for item in _objects(_items(document, "modelSummaries")):
        name = _text(item.get("modelId"))
        if name is not None:
            models[name] = Details(
                name=_text(item.get("modelName")),
                input_modalities=_words(item.get("inputModalities")) or None,
                output_modalities=_words(item.get("outputModalities")) or None,
            )
    return Page(models)


APIS: Final[dict[str, ListApi]] = {
    "openai": ListApi(_openai),
    "mistral": ListApi(_openai),
    "anthropic": ListApi(_anthropic, "limit=1000", "after_id", (("anthropic-version", "2023-06-01"),)),
    "gemini": ListApi(_gemini, "pageSize=1000", "pageToken"),
    "cohere": ListApi(_cohere, "page_size=1000", "page_token"),
    "bedrock": ListApi(_bedrock),
}
"""By the ``api`` of a kind."""


def read(api: ListApi, document: Any) -> Page:
    """One page of a list. Raises :class:`NoList`."""
    return api.read(document)


def _items(document: Any, name: str, *, missing: bool = False) -> list[Any]:
    found = document.get(name) if isinstance(document, dict) else None
    if found is None and missing and isinstance(document, dict) and "error" not in document:
        return []  # an empty list is left out of this API's answers
    if not isinstance(found, list):
        raise NoList(f"expected a JSON object with a list '{name}'")
    return found


def _objects(items: Iterable[Any]) -> Iterator[Json]:
    return (item for item in items if isinstance(item, dict))


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    fits = isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable()
    return value if fits else None


def _words(value: Any, *, lower: bool = True) -> tuple[str, ...]:
    items = value if isinstance(value, list) else []
    texts = [text for item in items[:_WORDS] if (text := _text(item)) is not None]
    return tuple(dict.fromkeys(text.lower() if lower else text for text in texts))


def _count(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53
    return value if is_count else None


def _first_count(values: Iterable[Any]) -> int | None:
    return next((count for value in values if (count := _count(value)) is not None), None)


def _first_flag(*values: Any) -> bool | None:
    return next((value for value in values if isinstance(value, bool)), None)


def _supported(capabilities: Json, name: str) -> bool | None:
    return _first_flag(_object(capabilities.get(name)).get("supported"))


def _prices(value: Any) -> dict[str, str]:
    """Prices in texts are those of one token. A negative one means that it depends: then there is none."""
    told = {name: text for name, text in _object(value).items() if name in _PRICES and isinstance(text, str)}
    try:
        prices = {name: Decimal(text) for name, text in told.items() if len(text) <= _WORDS}
    except InvalidOperation:
        return {}
    return {name: plain(price) for name, price in prices.items()} if all(map(_is_price, prices.values())) else {}


def _is_price(price: Decimal) -> bool:
    return price.is_finite() and (price.is_zero() or (price > 0 and -24 <= price.adjusted() <= 6))


def plain(price: Decimal) -> str:
    """A price as a text without an exponent and without zeros at its end."""
    text = format(price, "f") if price else "0"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
