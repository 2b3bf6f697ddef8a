"""Mistral's moderations, transcripts and speech. Answers are those of its API reference."""

from __future__ import annotations

import base64
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import orjson
import pytest
from openai.types import ModerationCreateResponse
from openai.types.audio import TranscriptionVerbose

from gateway.kernel.errors import GatewayError
from gateway.providers.base import Call, File, Media, Question, Upstream
from gateway.providers.media import wav_of
from gateway.providers.mistral import Mistral

SAMPLES = bytes(range(100)) * 2
FLAGS = {
    "sexual": False,
    "hate_and_discrimination": True,
    "violence_and_threats": False,
    "dangerous": False,
    "criminal": True,
    "selfharm": False,
    "pii": False,
}
OTHER = {"mistral": {"model": "dearer"}}
SCORES = {name: 0.9 if flag else 0.1 for name, flag in FLAGS.items()}


def asked(endpoint: str, **chat: Any) -> Call:
    return Mistral().request(Question({"model": "m", **chat}, Upstream("served", api_key="k"), endpoint))


def answered(call: Call, told: Any) -> Any:
    return Mistral().response(orjson.dumps(told), call.memo)


def fields(call: Call) -> list[tuple[str, str | None, bytes]]:
    """The parts of a form, read by the standard library: name, the file's name, content."""
    head = f"content-type: {call.content_type}\r\n\r\n".encode()
    parts = BytesParser(policy=HTTP).parsebytes(head + call.body).get_payload()
    assert isinstance(parts, list)
    found = []
    for part in parts:
        told: Any = part
        name = told.get_param("name", header="content-disposition")
        found.append((name, told.get_filename(), told.get_payload(decode=True).rstrip(b"\r\n")))
    return found


def test_moderations() -> None:
    call = asked("moderations", input=["a", "b"], user="u")
    told = answered(call, {"id": "i", "model": "served", "results": [{"categories": FLAGS, "category_scores": SCORES}]})

    assert (call.path, call.headers, call.dropped) == ("/moderations", (("authorization", "Bearer k"),), ())
    assert orjson.loads(call.body) == {"model": "served", "input": ["a", "b"]}
    (result,) = told["results"]
    assert result["flagged"] is True
    assert {name for name, flag in result["categories"].items() if flag} == {"hate", "illicit"}
    assert result["category_scores"]["hate"] == 0.9
    assert result["category_scores"]["pii"] == 0.1
    applied = result["category_applied_input_types"]
    assert (applied["violence"], applied["dangerous"], applied["harassment"]) == (["text"], ["text"], [])
    assert (result["categories"]["harassment"], result["category_scores"]["harassment"]) == (False, 0.0)
    ModerationCreateResponse.model_validate(told)


def test_moderations_of_the_older_model() -> None:
    flags = {"dangerous_and_criminal_content": True, "selfharm": True}
    call = asked("moderations", input="a")
    told = answered(call, {"results": [{"categories": flags, "category_scores": dict.fromkeys(flags, 1)}]})

    assert {name for name, flag in told["results"][0]["categories"].items() if flag} == {"illicit", "self-harm"}


def test_an_input_of_parts_is_one() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://x"}}
    call = asked("moderations", input=[{"type": "text", "text": "a"}, picture, picture, {"type": "text", "text": "b"}])

    assert orjson.loads(call.body)["input"] == "a\nb"
    assert call.dropped == ("input.image_url",)


def test_a_transcript() -> None:
    call = asked(
        "audio.transcriptions",
        file=File('a"\r\n.mp3', "", b"\x00mp3\r\n--x"),
        language="fr",
        temperature="0",
        keywords=["Chouette", "hibou grand duc"],
        response_format="json",
    )
    usage = {"prompt_audio_seconds": 203, "prompt_tokens": 4, "total_tokens": 3264, "completion_tokens": 635}
    told = answered(call, {"model": "served", "text": "Bonjour", "language": None, "segments": [], "usage": usage})

    assert (call.path, call.dropped) == ("/audio/transcriptions", ())
    assert fields(call) == [
        ("model", None, b"served"),
        ("language", None, b"fr"),
        ("temperature", None, b"0"),
        ("context_bias", None, b"Chouette"),
        ("context_bias", None, b"hibou_grand_duc"),
        ("file", "a___.mp3", b"\x00mp3\r\n--x"),
    ]
    assert b"content-type: audio/mpeg\r\n" in call.body
    assert told == {
        "text": "Bonjour",
        "usage": {
            "type": "tokens",
            "input_tokens": 4,
            "output_tokens": 635,
            "total_tokens": 3264,
            "prompt_audio_seconds": 203,
        },
    }
    assert asked("audio.transcriptions", file=File("a", "", b"x")).body != call.body


def test_a_transcript_as_text() -> None:
    call = asked("audio.transcriptions", file=File("a.mp3", "", b"x"), response_format="text")

    assert answered(call, {"text": "Bonjour"}) == Media("text/plain; charset=utf-8", b"Bonjour\n", None)


def test_a_verbose_transcript() -> None:
    segments = [{"text": " Bonjour", "start": 0.5, "end": 2.5, "type": "transcription_segment"}]
    call = asked(
        "audio.transcriptions",
        file=File("a.mp3", "", b"x"),
        response_format="verbose_json",
        timestamp_granularities=["segment"],
        provider_options={"mistral": {"diarize": True}},
    )
    told = answered(call, {"text": " Bonjour", "language": "fr", "segments": segments})

    assert call.dropped == ()
    assert ("timestamp_granularities", None, b"segment") in fields(call)
    assert ("diarize", None, b"true") in fields(call)
    assert (told["duration"], told["language"], told["task"]) == (2.5, "fr", "transcribe")
    assert told["segments"] == [{"id": 0, "start": 0.5, "end": 2.5, "text": " Bonjour"}]
    paid = answered(call, {"text": "", "usage": {"prompt_audio_seconds": 4, "prompt_tokens": 1}})
    assert (paid["duration"], paid["usage"]["input_tokens"]) == (4, 1)
    TranscriptionVerbose.construct(**told)


def test_no_name_of_a_field_makes_another_field() -> None:
    name = 'a"\r\n\r\nx\r\n--b\r\ncontent-disposition: form-data; name="model'
    call = asked("audio.transcriptions", file=File("a.mp3", "", b"x"), provider_options={"mistral": {name: "y"}})

    assert [field for field, _, _ in fields(call)].count("model") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", "x"),
        ("response_format", "vtt"),
        ("timestamp_granularities", ["word"]),
        ("stream", "true"),
        ("include", ["logprobs"]),
    ],
)
def test_what_no_transcript_can_be_is_named(name: str, value: Any) -> None:
    file = File("a.mp3", "", b"x")

    assert asked("audio.transcriptions", file=file, **{name: value}).dropped == (name,)


@pytest.mark.parametrize(
    ("wanted", "sent", "told"),
    [
        (None, "mp3", "audio/mpeg"),
        ("mp3", "mp3", "audio/mpeg"),
        ("opus", "opus", "audio/opus"),
        ("wav", "wav", "audio/wav"),
        ("pcm", "wav", "audio/pcm"),
    ],
)
def test_speech(wanted: str | None, sent: str, told: str) -> None:
    call = asked("audio.speech", input="Hi", voice="jane", response_format=wanted, speed=1)
    sound = wav_of(SAMPLES, 24_000)
    found = answered(call, {"audio_data": base64.b64encode(sound).decode()})

    assert (call.path, call.dropped) == ("/audio/speech", ())
    body = {"model": "served", "input": "Hi", "voice_id": "jane", "response_format": sent}
    assert orjson.loads(call.body) == body
    assert found == Media(told, SAMPLES if wanted == "pcm" else sound, None)


@pytest.mark.parametrize(
    ("name", "value"), [("response_format", "aac"), ("speed", 2), ("instructions", "softly"), ("stream_format", "sse")]
)
def test_what_no_speech_can_be_is_named(name: str, value: Any) -> None:
    assert asked("audio.speech", input="Hi", voice="jane", **{name: value}).dropped == (name,)


@pytest.mark.parametrize(
    ("endpoint", "chat", "field"),
    [
        ("moderations", {"input": []}, "input"),
        ("moderations", {"input": [{"type": "text", "text": "a"}, "b"]}, "input[1]"),
        ("moderations", {"input": {"type": "text"}}, "input[0].text"),
        ("audio.transcriptions", {}, "file"),
        ("audio.transcriptions", {"file": [File("a", "", b"x")] * 2}, "file"),
        ("audio.transcriptions", {"file": File("a", "", b"x"), "language": ["a", "b"]}, "language"),
        ("audio.speech", {"input": "a"}, "voice"),
        ("moderations", {"input": "a", "provider_options": OTHER}, "provider_options.mistral.model"),
        ("audio.speech", {"input": "a", "voice": "v", "provider_options": OTHER}, "provider_options.mistral.model"),
        (
            "audio.transcriptions",
            {"file": File("a", "", b"x"), "provider_options": OTHER},
            "provider_options.mistral.model",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(endpoint: str, chat: Any, field: str) -> None:
    with pytest.raises(GatewayError) as refused:
        asked(endpoint, **chat)

    assert refused.value.field == field


@pytest.mark.parametrize("told", [[], {}, {"results": [{}]}, {"text": 5}, {"audio_data": "?"}, {"audio_data": "aaaa"}])
@pytest.mark.parametrize("endpoint", ["moderations", "audio.transcriptions", "audio.speech"])
def test_no_answer_at_all(endpoint: str, told: Any) -> None:
    call = asked(endpoint, input="a", voice="v", file=File("a", "", b"x"), response_format="pcm")

    with pytest.raises(ValueError):
        answered(call, told)
