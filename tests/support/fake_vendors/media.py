"""What the vendors have beside chat: answers whose content is made of what was asked."""

from __future__ import annotations

import base64
import io
import re
import wave
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

MADE = 1290
"""Tokens of an image or a sound."""
ASKED = 7
"""Tokens of what was asked."""
_RATE = 24_000
_SEGMENT = {"type": "transcription_segment", "text": "heard", "start": 0.0, "end": 2.5}


def encoded(text: str) -> str:
    """A text as the base64 that stands for an image, or for samples."""
    return base64.b64encode(text.encode()).decode()


def wav(samples: bytes) -> bytes:
    """A WAV file as vendors make it."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, _RATE, 0, "NONE", ""))
        file.writeframes(samples)
    return made.getvalue()


def form(content_type: str, raw: bytes) -> dict[str, Any]:
    """The parts of a form by name: texts, and bytes of files; a list of those of a name that came more than once."""
    message: Any = BytesParser(policy=HTTP).parsebytes(f"content-type: {content_type}\r\n\r\n".encode() + raw)
    found: dict[str, list[Any]] = {}
    for part in message.get_payload():
        data = part.get_payload(decode=True)
        name = part.get_param("name", header="content-disposition")
        value = data if part.get_filename() else data.decode().rstrip("\r\n")
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def invoked(model: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to ``InvokeModel``; a vector is the length of its text."""
    if "titan-embed" in model:
        vector = [float(len(body["inputText"]))] * body.get("dimensions", 2)
        return {"embedding": vector, "embeddingsByType": {"float": vector}, "inputTextTokenCount": ASKED}
    if "embed" in model:
        vectors = [[float(len(text))] for text in body["texts"]]
        return {"id": "i", "embeddings": {"float": vectors}, "response_type": "embeddings_by_type"}
    if "rerank" in model:
        return {"results": ranked(body)}
    config = body["imageGenerationConfig"]
    said = f"{body['textToImageParams']['text']} {config.get('width')}x{config.get('height')}"
    return {"images": [encoded(said)] * config["numberOfImages"], "error": None}


def ranked(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The documents by how long they are, the longest first."""
    places = sorted(range(len(body["documents"])), key=lambda place: -len(body["documents"][place]))
    return [{"index": place, "relevance_score": round(1 / (rank + 1), 3)} for rank, place in enumerate(places)][
        : body.get("top_n")
    ]


def predicted(body: dict[str, Any]) -> dict[str, Any]:
    """The answer of Imagen to ``predict``."""
    asked, parameters = body["instances"][0]["prompt"], body["parameters"]
    image = {"mimeType": "image/png", "bytesBase64Encoded": encoded(f"{asked} {parameters.get('aspectRatio')}")}
    return {"predictions": [image] * parameters["sampleCount"]}


def camel(value: Any) -> Any:
    """Names as Google's references have them: its API takes those of protocol buffers too, and its SDK sends some."""
    if isinstance(value, list):
        return [camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {re.sub("_([a-z])", lambda found: found[1].upper(), name): camel(each) for name, each in value.items()}


def generated(body: dict[str, Any], model: str) -> dict[str, Any] | None:
    """The answer to ``generateContent`` that is no chat: an image, a sound, a transcript. None for a chat."""
    if not any(word in model for word in ("image", "tts", "transcribe")):
        return None
    body = camel(body)
    parts = [part for content in body["contents"] for part in content["parts"]]
    text = " ".join(part["text"] for part in parts if "text" in part)
    given = [base64.b64decode(part["inlineData"]["data"]).decode() for part in parts if "inlineData" in part]
    config = body.get("generationConfig", {})
    wanted, modality = config.get("responseModalities"), "TEXT"
    if wanted == ["IMAGE"]:
        said = " ".join([text, *given, str(config.get("imageConfig", {}).get("aspectRatio"))])
        part: dict[str, Any] = {"inlineData": {"mimeType": "image/png", "data": encoded(said)}}
        modality = "IMAGE"
    elif wanted == ["AUDIO"]:
        voice = config["speechConfig"]["voiceConfig"]
        said = f"{text} {voice.get('voice') or voice['prebuiltVoiceConfig']['voiceName']}"
        kind = f"audio/L16;codec=pcm;rate={_RATE}"
        part = {"inlineData": {"mimeType": kind, "data": encoded(said + " " * (len(said) % 2))}}
        modality = "AUDIO"
    else:
        part = {"text": f"heard {given[0]}"}
    usage = {
        "promptTokenCount": ASKED,
        "candidatesTokenCount": MADE,
        "totalTokenCount": ASKED + MADE,
        "candidatesTokensDetails": [{"modality": modality, "tokenCount": MADE}],
    }
    candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": "r"}


def of_cohere(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Embed and rerank."""
    if path.endswith("/rerank"):
        return {"id": "r", "results": ranked(body), "meta": {"billed_units": {"search_units": 1}}}
    vectors = [[float(len(text))] for text in body["texts"]]
    return {
        "id": "e",
        "embeddings": {"float": vectors},
        "response_type": "embeddings_by_type",
        "meta": {"billed_units": {"input_tokens": ASKED}},
    }


def of_mistral(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Embeddings, moderations, transcripts and speech."""
    if path.endswith("/moderations"):
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        flags = [{"violence_and_threats": "fight" in text, "pii": False} for text in texts]
        scores = [{name: float(flag) for name, flag in each.items()} for each in flags]
        results = [{"categories": each, "category_scores": told} for each, told in zip(flags, scores, strict=True)]
        return {"id": "m", "model": body["model"], "results": results}
    if path.endswith("/transcriptions"):
        usage = {"prompt_audio_seconds": 3, "prompt_tokens": ASKED, "completion_tokens": 2, "total_tokens": ASKED + 2}
        segments = [_SEGMENT] if "timestamp_granularities" in body else []
        text = f"heard {body['file'].decode()}"
        return {"model": body["model"], "text": text, "language": "en", "segments": segments, "usage": usage}
    if path.endswith("/speech"):
        said = f"{body['input']} {body['voice_id']}"
        sound = (said + " " * (len(said) % 2)).encode()
        made = wav(sound) if body["response_format"] == "wav" else sound
        return {"audio_data": base64.b64encode(made).decode()}
    return {"id": "e", **of_openai(body)}


def of_openai(body: dict[str, Any]) -> dict[str, Any]:
    """Embeddings as OpenAI has them."""
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    data = [
        {"object": "embedding", "index": place, "embedding": [float(len(text))]} for place, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": ASKED, "total_tokens": ASKED}
    return {"object": "list", "model": "served", "data": data, "usage": usage}
