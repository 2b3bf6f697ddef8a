"""Every inference endpoint beside chat: small, deterministic, in OpenAI's (and for rerank Cohere's) object forms."""

from __future__ import annotations

import base64
import hashlib
import random
import struct
from typing import Any

from tests.support.fake_openai.answers import digest, tokens
from tests.support.fake_openai.behaviours import MODELS
from tests.support.fake_openai.chat import CREATED

SPEECH_BYTES = 300_000


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """One vector per input, derived from its text; ``encoding_format: base64`` gives little-endian float32."""
    given = body["input"]
    single = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
    inputs = [given] if single else given
    vectors = [vector(str(each), body.get("dimensions") or 8) for each in inputs]
    packed = body.get("encoding_format") == "base64"
    shown = [base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode() if packed else v for v in vectors]
    count = sum(len(tokens(str(each))) for each in inputs)
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": each} for i, each in enumerate(shown)],
        "model": body["model"],
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }


def vector(text: str, dimensions: int) -> list[float]:
    """The vector of ``text``; components are multiples of 1/256, exact in float32."""
    rng = random.Random(text)
    return [rng.randrange(-256, 257) / 256 for _ in range(dimensions)]


def text_completion(body: dict[str, Any]) -> dict[str, Any]:
    """The legacy ``text_completion`` object."""
    prompts = _prompts(body)
    completion = sum(len(tokens(_continued(each))) for each in prompts)
    prompt = sum(len(tokens(each)) for each in prompts)
    return {
        **_text_head(body),
        "choices": [_text_choice(i, _continued(each), "stop") for i, each in enumerate(prompts)],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }


def text_chunks(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The streamed form of :func:`text_completion`."""
    asked = bool((body.get("stream_options") or {}).get("include_usage"))
    nothing: dict[str, Any] = {"usage": None} if asked else {}
    choices = [
        choice
        for index, each in enumerate(_prompts(body))
        for choice in [
            *(_text_choice(index, piece, None) for piece in tokens(_continued(each))),
            _text_choice(index, "", "stop"),
        ]
    ]
    out = [{**_text_head(body), "choices": [choice], **nothing} for choice in choices]
    if asked:
        out.append({**_text_head(body), "choices": [], "usage": text_completion(body)["usage"]})
    return out


def moderation(body: dict[str, Any]) -> dict[str, Any]:
    """Flags a text that contains ``attack``."""
    given = body["input"]
    inputs = [given] if isinstance(given, str) else given
    results = [
        {
            "flagged": "attack" in str(each),
            "categories": {"violence": "attack" in str(each), "hate": False},
            "category_scores": {"violence": 0.75 if "attack" in str(each) else 0.0, "hate": 0.0},
        }
        for each in inputs
    ]
    return {"id": "modr-" + digest(given), "model": body["model"], "results": results}


def rerank(body: dict[str, Any]) -> dict[str, Any]:
    """Documents by the share of the query's words they hold, best first, at most ``top_n``."""
    query = set(body["query"].lower().split())
    scored = [
        {"index": index, "relevance_score": len(query & set(str(each).lower().split())) / max(1, len(query))}
        for index, each in enumerate(body["documents"])
    ]
    ranked = sorted(scored, key=lambda each: (-each["relevance_score"], each["index"]))[: body.get("top_n") or None]
    return {"id": "rerank-" + digest(body["query"]), "results": ranked, "meta": {"billed_units": {"search_units": 1}}}


def speech(body: dict[str, Any]) -> bytes:
    """Binary 'audio' derived from the text and the voice."""
    return random.Random(f"{body['voice']}:{body['input']}").randbytes(SPEECH_BYTES)


def transcription(parts: dict[str, bytes]) -> dict[str, Any]:
    """Says which file it heard: size and SHA-256."""
    heard = parts["file"]
    return {
        "text": f"{len(heard)} bytes, sha256 {hashlib.sha256(heard).hexdigest()}",
        "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 3, "total_tokens": 17},
    }


def image(prompt: str, count: int, source: bytes = b"") -> dict[str, Any]:
    """``count`` images derived from the prompt and, for an edit, the source image."""
    data = [
        {"b64_json": base64.b64encode(hashlib.sha256(b"%d" % i + prompt.encode() + source).digest()).decode()}
        for i in range(count)
    ]
    usage = {"input_tokens": len(tokens(prompt)), "output_tokens": 100 * count, "total_tokens": 100 * count}
    return {"created": CREATED, "data": data, "usage": usage}


def model_list() -> dict[str, Any]:
    """The list of :data:`MODELS`."""
    return {"object": "list", "data": [model_card(name) for name in MODELS]}


def model_card(name: str) -> dict[str, Any]:
    """One ``model`` object."""
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "fake"}


def multipart(body: bytes, content_type: str) -> dict[str, bytes]:
    """The parts of a multipart body by field name. Raises ``ValueError`` if it isn't one."""
    marker = b"--" + content_type.split("boundary=", 1)[1].strip('"').encode()
    opened, *parts, closing = body.split(marker)
    if opened.strip() or not closing.startswith(b"--"):
        raise ValueError("not a complete multipart body")
    out: dict[str, bytes] = {}
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        name = head.split(b'name="', 1)[1].split(b'"', 1)[0]
        out[name.decode()] = content.removesuffix(b"\r\n")
    return out


def _prompts(body: dict[str, Any]) -> list[str]:
    prompt = body["prompt"]
    return [prompt] if isinstance(prompt, str) else [str(each) for each in prompt]


def _continued(prompt: str) -> str:
    return f"{prompt} and so on"


def _text_head(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "cmpl-" + digest(body["prompt"]),
        "object": "text_completion",
        "created": CREATED,
        "model": body["model"],
        "system_fingerprint": "fp_fake",
    }


def _text_choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
