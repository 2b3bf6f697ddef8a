"""Images, speech and transcripts of Gemini. Google's own types judge what is sent and what the answers here are."""

from __future__ import annotations

import base64
import io
import wave
from typing import Any

import orjson
import pytest
from google.genai import types

from gateway.kernel.errors import GatewayError
from gateway.providers.base import Call, File, Media, Question, Unsupported, Upstream
from gateway.providers.gemini import Gemini
from tests.unit.providers.gemini.judge import check_answer, check_request

PNG = File("a.png", "image/png", b"\x89PNG")
WAV = File("a.wav", "application/octet-stream", b"RIFFx")
SAMPLES = bytes(range(100)) * 4
USAGE = {
    "promptTokenCount": 10,
    "candidatesTokenCount": 1290,
    "thoughtsTokenCount": 5,
    "totalTokenCount": 1305,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}, {"modality": "IMAGE", "tokenCount": 3}],
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
}


def asked(endpoint: str, model: str, kind: str = "gemini", **chat: Any) -> tuple[Call, Any]:
    call = Gemini(kind).request(Question({"model": "m", **chat}, Upstream(model, api_key="k"), endpoint, now=7.0))
    body = orjson.loads(call.body)
    if call.path.endswith(":generateContent"):
        check_request(body)
    return call, body


def answered(call: Call, *parts: Any, finish: str | None = "STOP", **more: Any) -> Any:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish}
    answer = {"candidates": [candidate], **more}
    check_answer(answer)
    return Gemini().response(orjson.dumps(answer), call.memo)


def inline(data: bytes, kind: str = "image/png", **more: Any) -> Any:
    return {"inlineData": {"mimeType": kind, "data": base64.b64encode(data).decode()}, **more}


def wav(data: bytes, rate: int = 24_000) -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(data)
    return made.getvalue()


def test_an_image_of_gemini() -> None:
    own = {"gemini": {"generationConfig": {"seed": 3}}}
    call, body = asked(
        "images.generations", "gemini-2.5-flash-image", prompt="Owl", size="1344x768", provider_options=own
    )
    told = answered(call, {"text": "Here."}, inline(b"way", thought=True), inline(b"owl"), usageMetadata=USAGE)

    assert (call.path, call.headers) == ("/models/gemini-2.5-flash-image:generateContent", (("x-goog-api-key", "k"),))
    assert call.dropped == ()
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "Owl"}]}],
        "generationConfig": {"responseModalities": ["IMAGE"], "imageConfig": {"aspectRatio": "16:9"}, "seed": 3},
    }
    assert told["created"] == 7
    assert told["data"] == [{"b64_json": base64.b64encode(b"owl").decode()}]
    usage = told["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (10, 1295, 1305)
    assert usage["input_tokens_details"] == {"text_tokens": 7, "image_tokens": 3, "cached_tokens": 0}
    assert usage["output_tokens_details"] == {"image_tokens": 1290, "text_tokens": 5, "reasoning_tokens": 5}


@pytest.mark.parametrize(
    ("model", "size", "expected"),
    [
        ("gemini-2.5-flash-image", "auto", None),
        ("gemini-2.5-flash-image", "1024x1024", {"aspectRatio": "1:1"}),
        ("gemini-3-pro-image", "2048x2048", {"aspectRatio": "1:1", "imageSize": "2K"}),
        ("gemini-3-pro-image", "5504x3072", {"aspectRatio": "16:9", "imageSize": "4K"}),
        ("gemini-3-pro-image", "848x1264", {"aspectRatio": "2:3"}),
    ],
)
def test_sizes_that_a_model_has(model: str, size: str, expected: Any) -> None:
    call, body = asked("images.generations", model, prompt="Owl", size=size)

    assert body["generationConfig"].get("imageConfig") == expected
    assert call.dropped == ()


@pytest.mark.parametrize(
    ("model", "chat", "dropped"),
    [
        ("gemini-2.5-flash-image", {"size": "2048x2048"}, "size"),
        ("gemini-2.5-flash-image", {"size": "1536x1024"}, "size"),
        ("gemini-3-pro-image", {"size": "1025x1024"}, "size"),
        ("gemini-3-pro-image", {"n": 2}, "n"),
        ("gemini-3-pro-image", {"quality": "high"}, "quality"),
        ("gemini-3-pro-image", {"response_format": "url"}, "response_format"),
        ("gemini-3-pro-image", {"stream": True}, "stream"),
        ("imagen-4.0-generate-001", {"size": "4096x4096"}, "size"),
        ("imagen-4.0-generate-001", {"output_format": "webp"}, "output_format"),
        ("imagen-4.0-generate-001", {"provider_options": {"bedrock": {}}}, "provider_options.bedrock"),
    ],
)
def test_what_no_image_can_be_is_named(model: str, chat: Any, dropped: str) -> None:
    assert asked("images.generations", model, prompt="Owl", **chat)[0].dropped == (dropped,)


def test_imagen() -> None:
    call, body = asked(
        "images.generations",
        "imagen-4.0-generate-001",
        "vertex",
        prompt="Owl",
        n=2,
        size="2816x1536",
        output_format="jpeg",
        output_compression=80,
        seed=1,
        provider_options={"gemini": {"parameters": {"personGeneration": "dont_allow"}}},
    )
    predictions = [
        {"mimeType": "image/jpeg", "bytesBase64Encoded": "aQ==", "prompt": "An owl"},
        {"raiFilteredReason": "not this"},
    ]

    assert call.headers == (("authorization", "Bearer k"),)
    assert call.path == "/models/imagen-4.0-generate-001:predict"
    assert body == {
        "instances": [{"prompt": "Owl"}],
        "parameters": {
            "sampleCount": 2,
            "includeRaiReason": True,
            "aspectRatio": "16:9",
            "sampleImageSize": "2K",
            "outputOptions": {"mimeType": "image/jpeg", "compressionQuality": 80},
            "seed": 1,
            "personGeneration": "dont_allow",
        },
    }
    told = Gemini().response(orjson.dumps({"predictions": predictions}), call.memo)
    assert told == {"created": 7, "data": [{"b64_json": "aQ==", "revised_prompt": "An owl"}]}
    for nothing, why in (({"predictions": predictions[1:]}, "not this"), ({}, "all were filtered")):
        refused = Gemini().response(orjson.dumps(nothing), call.memo)["error"]
        assert (refused["code"], refused["message"].endswith(why)) == ("content_policy_violation", True)


def test_an_edit() -> None:
    second = File("b.jpg", "", b"jpg")
    call, body = asked("images.edits", "gemini-2.5-flash-image", image=[PNG, second], prompt="Swap", n="1", mask=PNG)

    assert call.dropped == ("mask",)
    assert body["contents"][0]["parts"] == [inline(b"\x89PNG"), inline(b"jpg", "image/jpeg"), {"text": "Swap"}]
    assert answered(call, inline(b"owl"))["data"][0]["b64_json"] == "b3ds"


def test_imagen_edits_nothing_here() -> None:
    with pytest.raises(Unsupported) as refused:
        asked("images.edits", "imagen-3.0-capability-001", image=PNG, prompt="x")

    assert refused.value.field == "model"


@pytest.mark.parametrize(
    ("finish", "parts", "code"),
    [
        ("IMAGE_SAFETY", (), "content_policy_violation"),
        ("NO_IMAGE", (), "nothing_made"),
        ("STOP", ({"text": "I can't draw."},), "nothing_made"),
    ],
)
def test_no_image(finish: str, parts: Any, code: str) -> None:
    call, _ = asked("images.generations", "gemini-3-pro-image", prompt="Owl")

    told = answered(call, *parts, finish=finish)["error"]
    assert (told["code"], told["type"]) == (code, "invalid_request_error")
    assert finish in told["message"]
    blocked = Gemini().response(b'{"promptFeedback": {"blockReason": "SAFETY"}}', call.memo)["error"]
    assert blocked["code"] == "content_policy_violation"


@pytest.mark.parametrize(
    ("model", "part", "voice"),
    [
        ("gemini-2.5-flash-preview-tts", {"text": "Softly:\nHi"}, {"prebuiltVoiceConfig": {"voiceName": "Kore"}}),
        ("gemini-3.1-flash-tts-preview", {"text": "Softly:\nHi"}, {"prebuiltVoiceConfig": {"voiceName": "Kore"}}),
        ("gemini-3.8-flash-tts", {"text": "Hi", "speechMetadata": {"style": "Softly"}}, {"voice": "Kore"}),
    ],
)
def test_speech(model: str, part: Any, voice: Any) -> None:
    call, body = asked("audio.speech", model, input="Hi", voice="Kore", instructions="Softly", speed=1.0)

    assert call.dropped == ()
    assert body["contents"] == [{"role": "user", "parts": [part]}]
    assert body["generationConfig"] == {
        "responseModalities": ["AUDIO"],
        "speechConfig": {"voiceConfig": voice},
    }
    types.Part.model_validate(part)


@pytest.mark.parametrize(
    ("given", "kind", "rate"),
    [
        (SAMPLES, "audio/L16;codec=pcm;rate=24000", 24_000),
        (SAMPLES, "audio/l16; rate=16000; channels=1", 16_000),
        (SAMPLES, "audio/pcm", 24_000),
        (wav(SAMPLES), "audio/wav", 24_000),
    ],
)
def test_sound_comes_as_a_file_or_as_samples(given: bytes, kind: str, rate: int) -> None:
    for wanted in (None, "wav", "pcm"):
        call, _ = asked("audio.speech", "gemini-2.5-pro-tts", input="Hi", voice="Kore", response_format=wanted)
        told = answered(call, inline(given, kind), usageMetadata={"promptTokenCount": 2, "candidatesTokenCount": 25})

        assert isinstance(told, Media)
        assert told.usage == {"input_tokens": 2, "output_tokens": 25, "total_tokens": 27}
        if wanted == "pcm":
            named = "audio/pcm" if rate == 24_000 else f"audio/pcm;rate={rate}"
            assert (told.content_type, told.data) == (named, SAMPLES)
        else:
            assert (told.content_type, told.data) == ("audio/wav", wav(SAMPLES, rate))


def test_sound_in_pieces_and_without_usage() -> None:
    call, _ = asked("audio.speech", "gemini-2.5-pro-tts", input="Hi", voice="Kore", response_format="pcm")
    told = answered(call, inline(b"ab", "audio/L16"), inline(b"cd", "audio/L16"))

    assert told == Media("audio/pcm", b"abcd", None)


@pytest.mark.parametrize(
    "chat",
    [{"response_format": "mp3"}, {"speed": 2}, {"stream_format": "sse"}, {"stream": True}],
    ids=lambda chat: next(iter(chat)),
)
def test_what_no_speech_can_be_is_named(chat: Any) -> None:
    assert asked("audio.speech", "gemini-2.5-pro-tts", input="Hi", voice="Kore", **chat)[0].dropped == (*chat,)


def test_no_speech() -> None:
    call, _ = asked("audio.speech", "gemini-2.5-pro-tts", input="Hi", voice="Kore", response_format="pcm")

    assert answered(call, finish="SAFETY")["error"]["code"] == "content_policy_violation"
    with pytest.raises(ValueError, match="no WAV file"):
        answered(call, inline(b"RIFF broken", "audio/wav"))


def test_a_transcript_by_words() -> None:
    call, body = asked(
        "audio.transcriptions",
        "gemini-2.5-flash",
        file=WAV,
        language="de",
        prompt="Über Eulen.",
        keywords=["Uhu", "Kauz"],
        temperature="0.5",
        response_format="json",
        stream="false",
    )
    heard = [{"modality": "AUDIO", "tokenCount": 64}]
    usage = {"promptTokenCount": 70, "candidatesTokenCount": 4, "promptTokensDetails": heard}
    told = answered(call, {"text": "Hm.", "thought": True}, {"text": " Guten Tag\n"}, usageMetadata=usage)

    assert call.dropped == ()
    sound, words = body["contents"][0]["parts"]
    assert sound == inline(b"RIFFx", "audio/wav")
    for said in ("word for word", "de.", "Uhu, Kauz.", "Über Eulen."):
        assert said in words["text"]
    assert body["generationConfig"] == {"temperature": 0.5}
    assert told == {
        "text": "Guten Tag",
        "usage": {
            "type": "tokens",
            "input_tokens": 70,
            "output_tokens": 4,
            "total_tokens": 74,
            "input_token_details": {"audio_tokens": 64, "text_tokens": 6},
        },
    }


def test_a_transcript_by_a_model_made_for_it() -> None:
    call, body = asked(
        "audio.transcriptions",
        "gemini-3.5-transcribe",
        file=File("x", "audio/mpeg; rate=1", b"mp3"),
        languages=["de", "en"],
        keywords="Uhu",
        prompt="x",
        response_format="text",
    )

    assert call.dropped == ("prompt",)
    assert body["contents"] == [{"role": "user", "parts": [inline(b"mp3", "audio/mpeg")]}]
    config = {"languageCodes": ["de", "en"], "customVocabulary": ["Uhu"]}
    assert body["generationConfig"] == {"audioTranscriptionConfig": config}
    assert answered(call, {"text": "Hallo"}) == Media("text/plain; charset=utf-8", b"Hallo\n", None)
    assert answered(call).data == b"\n"  # nothing was said
    assert answered(call, finish="SAFETY")["error"]["code"] == "content_policy_violation"


def test_a_translation() -> None:
    _, body = asked("audio.translations", "gemini-2.5-flash", file=WAV)

    assert "into English" in body["contents"][0]["parts"][1]["text"]
    assert "generationConfig" not in body
    with pytest.raises(Unsupported):
        asked("audio.translations", "gemini-3.5-transcribe", file=WAV)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("response_format", "verbose_json"),
        ("response_format", "srt"),
        ("timestamp_granularities", ["word"]),
        ("include", ["logprobs"]),
        ("stream", "true"),
        ("chunking_strategy", '{"type": "server_vad"}'),
    ],
)
def test_what_no_transcript_can_be_is_named(name: str, value: Any) -> None:
    assert asked("audio.transcriptions", "gemini-2.5-flash", file=WAV, **{name: value})[0].dropped == (name,)


@pytest.mark.parametrize(
    ("endpoint", "chat", "field"),
    [
        ("images.generations", {"prompt": ""}, "prompt"),
        ("images.generations", {"prompt": "a", "n": "two"}, "n"),
        ("images.edits", {"prompt": "a"}, "image"),
        ("images.edits", {"prompt": "a", "image": [PNG, "text"]}, "image"),
        ("audio.speech", {"input": "a"}, "voice"),
        ("audio.speech", {"input": "a", "voice": {"id": "v"}}, "voice"),
        ("audio.speech", {"input": "a", "voice": "v", "instructions": 5}, "instructions"),
        ("audio.transcriptions", {"file": "text"}, "file"),
        ("audio.transcriptions", {"file": [WAV, WAV]}, "file"),
        ("audio.transcriptions", {"file": File("a.txt", "", b"x")}, "file"),
        ("audio.transcriptions", {"file": File("a.wav", "", b"")}, "file"),
        ("audio.transcriptions", {"file": WAV, "temperature": "warm"}, "temperature"),
        ("audio.transcriptions", {"file": WAV, "language": WAV}, "language"),
        ("audio.transcriptions", {"file": WAV, "prompt": WAV}, "prompt"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(endpoint: str, chat: Any, field: str) -> None:
    with pytest.raises(GatewayError) as refused:
        asked(endpoint, "gemini-2.5-flash", **chat)

    assert refused.value.field == field


@pytest.mark.parametrize("told", [{}, [], {"candidates": 5}, {"candidates": [{}]}])
@pytest.mark.parametrize("endpoint", ["images.generations", "audio.speech", "audio.transcriptions"])
def test_no_answer_at_all(endpoint: str, told: Any) -> None:
    call, _ = asked(endpoint, "gemini-2.5-flash", prompt="a", input="a", voice="v", file=WAV)

    with pytest.raises(ValueError):
        Gemini().response(orjson.dumps(told), call.memo)
