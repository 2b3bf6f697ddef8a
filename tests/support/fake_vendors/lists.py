"""What the vendors' lists of models look like, page by page; forms as in their API references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
PAGE = 2
"""Models of one page, whatever more is asked for."""

GEMINI: list[Json] = [
    {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name.title(),
        "inputTokenLimit": limit,
        "outputTokenLimit": 8192,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }
    for name, limit in (("gemini-model", 1_048_576), ("gemini-other", 32_768), ("fails", 32_768))
]
COHERE: list[Json] = [
    {
        "name": name,
        "is_deprecated": False,
        "endpoints": ["chat"],
        "finetuned": False,
        "context_length": 128_000.0,
        "tokenizer_url": f"https://storage.example/{name}.json",
        "default_endpoints": [],
        "features": ["tools", "vision", "json_schema"] if name == "cohere-model" else None,
    }
    for name in ("cohere-model", "cohere-other", "fails")
]
MISTRAL: list[Json] = [
    {
        "id": name,
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "mistralai",
        "capabilities": {"completion_chat": True, "function_calling": True, "vision": name == "mistral-model"},
        "name": name,
        "max_context_length": 131_072,
        "aliases": [f"{name}-latest"],
        "type": "base",
    }
    for name in ("mistral-model", "mistral-other")
]
# With the fields that OpenRouter adds to OpenAI's.
ROUTER: list[Json] = [
    {
        "id": "maker/model",
        "canonical_slug": "maker/model-1",
        "name": "Maker: Model",
        "created": 1_700_000_000,
        "context_length": 200_000,
        "architecture": {
            "modality": "text+image->text",
            "input_modalities": ["text", "image"],
            "output_modalities": ["text"],
            "tokenizer": "Other",
        },
        "pricing": {"prompt": "0.0000025", "completion": "0.00001", "request": "0", "image": "0.003613"},
        "top_provider": {"context_length": 128_000, "max_completion_tokens": 16_384, "is_moderated": True},
        "per_request_limits": None,
        "supported_parameters": ["max_tokens", "temperature", "tools", "tool_choice", "n"],
    },
    {
        "id": "router/auto",
        "name": "Auto",
        "created": 1_700_000_000,
        "context_length": 2_000_000,
        "pricing": {"prompt": "-1", "completion": "-1"},
        "top_provider": {"context_length": None, "max_completion_tokens": None, "is_moderated": False},
        "supported_parameters": [],
    },
]
BEDROCK: list[Json] = [
    {
        "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{name}",
        "modelId": name,
        "modelName": name.title(),
        "providerName": "Maker",
        "inputModalities": ["TEXT", "IMAGE"],
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": True,
        "customizationsSupported": [],
        "inferenceTypesSupported": ["ON_DEMAND"],
        "modelLifecycle": {"status": "ACTIVE"},
    }
    for name in ("maker.bedrock-model-v1:0", "bedrock-model")
]


def page(items: list[Json], query: Mapping[str, str], name: str, cursor: str, following: str) -> Json:
    """One page of at most :data:`PAGE`: the items below ``name``, and where the next ones begin below ``following``."""
    begin = int(query.get(cursor) or 0)
    end = begin + PAGE
    return {name: items[begin:end], **({following: str(end)} if end < len(items) else {})}
