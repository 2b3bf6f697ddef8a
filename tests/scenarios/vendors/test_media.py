"""OpenAI's SDK asks the vendors for all that is no chat; their own SDKs show that the fakes are like them."""

from __future__ import annotations

import base64
import io
import json
import warnings
import wave
from typing import Any

import botocore.session
import httpx
import pytest
from botocore.config import Config
from google import genai
from google.genai import types
from openai import APIStatusError, OpenAI

from tests.scenarios.vendors.conftest import GATEWAY_KEY
from tests.support.fake_vendors import ACCESS_KEY, KEY, SECRET_KEY, FakeVendors
from tests.support.fake_vendors.media import ASKED, MADE, camel, encoded
from tests.support.gateway import RunningGateway

SOUND = ("a.wav", b"hoot", "audio/wav")


def said(image: Any) -> str:
    """What stands in for an image of the fakes."""
    return base64.b64decode(image.b64_json).decode()


@pytest.mark.parametrize(
    ("model", "texts"),
    [
        ("titan", ["abc"]),
        ("bedrock-embed", ["a", "abc"]),
        ("cohere", ["a", "abc"]),
        ("mistral", ["a", "abc"]),
        ("azure", ["a", "abc"]),
        ("entra", ["abc"]),
    ],
)
def test_embeddings(openai: OpenAI, model: str, texts: list[str]) -> None:
    answer = openai.embeddings.create(model=model, input=texts)

    assert [item.embedding[0] for item in answer.data] == [len(text) for text in texts]
    assert answer.usage.prompt_tokens == ASKED


def test_titan_takes_one_text(openai: OpenAI, vendors: FakeVendors) -> None:
    before = len(vendors.asked)
    with pytest.raises(APIStatusError) as refused:
        openai.embeddings.create(model="titan", input=["a", "b"])

    assert (refused.value.status_code, refused.value.body["param"]) == (400, "input")  # type: ignore[index]
    assert len(vendors.asked) == before


@pytest.mark.parametrize("model", ["bedrock-rerank", "cohere"])
def test_rerank(gateway: RunningGateway, model: str) -> None:
    body = {"model": model, "query": "q", "documents": ["a", "abc", "ab"], "top_n": 2, "return_documents": True}
    answer = httpx.post(
        f"{gateway.base_url}/rerank", json=body, headers={"authorization": f"Bearer {GATEWAY_KEY}"}, timeout=30
    )

    assert [(each["index"], each["document"]["text"]) for each in answer.json()["results"]] == [(1, "abc"), (2, "ab")]


@pytest.mark.parametrize(
    ("model", "size", "expected"),
    [
        ("canvas", "1280x720", "An owl 1280x720"),
        ("imagen", "1408x768", "An owl 16:9"),
        ("painter", "1264x848", "An owl 3:2"),
        ("azure", "1024x1024", "An owl azure-model:1"),
    ],
)
def test_images(openai: OpenAI, model: str, size: Any, expected: str) -> None:
    answer = openai.images.generate(model=model, prompt="An owl", size=size)

    assert answer.data is not None
    assert [said(image) for image in answer.data] == [expected]
    if model == "painter":
        assert answer.usage is not None
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (ASKED, MADE)


@pytest.mark.parametrize("model", ["canvas", "imagen"])
def test_several_images(openai: OpenAI, model: str) -> None:
    answer = openai.images.generate(model=model, prompt="An owl", n=3, response_format="b64_json")

    assert len(answer.data or ()) == 3


@pytest.mark.parametrize(
    ("model", "parameter"),
    [("canvas", {"style": "vivid"}), ("imagen", {"size": "1536x1024"}), ("painter", {"n": 2})],
    ids=["canvas", "imagen", "painter"],
)
def test_what_an_image_can_not_be_is_refused_by_name(openai: OpenAI, model: str, parameter: Any) -> None:
    with pytest.raises(APIStatusError) as refused:
        openai.images.generate(model=model, prompt="An owl", **parameter)

    assert (refused.value.status_code, refused.value.body["param"]) == (400, *parameter)  # type: ignore[index]


@pytest.mark.parametrize(("model", "expected"), [("painter", "Swap one two None"), ("azure", "Swap azure-model:1")])
def test_edits(openai: OpenAI, model: str, expected: str) -> None:
    images = [("a.png", b"one", "image/png"), ("b.png", b"two", "image/png")]
    answer = openai.images.edit(model=model, image=images, prompt="Swap")

    assert [said(image) for image in answer.data or ()] == [expected]


@pytest.mark.parametrize(
    ("model", "form", "media_type"),
    [
        ("speaker", "wav", "audio/wav"),
        ("speaker", "pcm", "audio/pcm"),
        ("mistral", "wav", "audio/wav"),
        ("mistral", "pcm", "audio/pcm"),
        ("mistral", "mp3", "audio/mpeg"),
        ("azure", "mp3", "audio/mpeg"),
    ],
)
def test_speech(openai: OpenAI, model: str, form: Any, media_type: str) -> None:
    answer = openai.audio.speech.create(model=model, voice="Kore", input="Hoot", response_format=form)
    sound = answer.content
    if form == "wav":
        with wave.open(io.BytesIO(sound)) as file:
            sound = file.readframes(file.getnframes())

    assert sound.decode().strip() == "Hoot Kore"
    assert answer.response.headers["content-type"] == media_type


def test_speech_that_can_not_be(openai: OpenAI) -> None:
    with pytest.raises(APIStatusError) as refused:
        openai.audio.speech.create(model="speaker", voice="Kore", input="Hoot", response_format="mp3")

    assert refused.value.body["param"] == "response_format"  # type: ignore[index]


@pytest.mark.parametrize("model", ["listener", "mistral", "azure"])
def test_transcripts(openai: OpenAI, model: str) -> None:
    answer = openai.audio.transcriptions.create(model=model, file=SOUND, language="en")

    assert answer.text == "heard hoot"
    assert answer.usage is not None
    if model != "azure":
        assert openai.audio.transcriptions.create(model=model, file=SOUND, response_format="text") == "heard hoot\n"


def test_a_verbose_transcript(openai: OpenAI) -> None:
    answer = openai.audio.transcriptions.create(model="mistral", file=SOUND, response_format="verbose_json")

    assert (answer.duration, [segment.end for segment in answer.segments or ()]) == (3, [2.5])
    with pytest.raises(APIStatusError) as refused:
        openai.audio.transcriptions.create(model="listener", file=SOUND, response_format="verbose_json")
    assert refused.value.body["param"] == "response_format"  # type: ignore[index]


def test_moderations(openai: OpenAI) -> None:
    answer = openai.moderations.create(model="mistral", input=["a fight", "a flower"])

    assert [each.flagged for each in answer.results] == [True, False]
    assert (answer.results[0].categories.violence, answer.results[0].categories.harassment) == (True, False)
    assert answer.results[0].category_scores.violence == 1.0


def test_azure_asks_each_by_its_deployment(openai: OpenAI, vendors: FakeVendors) -> None:
    before = len(vendors.asked)
    openai.embeddings.create(model="azure", input="a")
    openai.audio.transcriptions.create(model="entra", file=SOUND)
    embedded, heard = vendors.asked[before:]

    assert embedded.path == "/azure/deployments/azure-model:1/embeddings"
    assert heard.path == "/azure/deployments/entra-model:1/audio/transcriptions"
    assert (heard.body["model"], heard.query) == ("entra-model:1", "api-version=2024-10-21")


@pytest.mark.parametrize(
    ("model", "kind"), [("groq", "'groq'"), ("bedrock", "titan-embed"), ("deepseek", "'deepseek'")]
)
def test_who_has_an_endpoint_not_is_told(openai: OpenAI, model: str, kind: str) -> None:
    with pytest.raises(APIStatusError) as refused:
        openai.embeddings.create(model=model, input="a")

    body: Any = refused.value.body
    assert (refused.value.status_code, body["code"], kind in body["message"]) == (400, "unsupported_endpoint", True)


def test_amazons_own_sdk_can_not_tell_the_fake_apart(vendors: FakeVendors) -> None:
    client = botocore.session.Session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=f"{vendors.root}/bedrock",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=30),
    )
    body = json.dumps({"inputText": "abc", "dimensions": 256})
    answer = client.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=body)
    told = json.loads(answer["body"].read())
    client.close()

    assert (len(told["embedding"]), told["inputTextTokenCount"]) == (256, ASKED)
    assert answer["contentType"] == "application/json"
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"] == str(ASKED)


def test_googles_own_sdk_can_not_tell_the_fake_apart(vendors: FakeVendors) -> None:
    config: Any = {
        "image": types.GenerateContentConfig(
            response_modalities=["IMAGE"], image_config=types.ImageConfig(aspect_ratio="3:2")
        ),
        "sound": types.GenerateContentConfig(
            response_modalities=["AUDIO"],
            speech_config=types.SpeechConfig(voice_config=types.VoiceConfig(voice="Kore")),
        ),
        "words": types.GenerateContentConfig(
            audio_transcription_config=types.AudioTranscriptionConfig(language_codes=["en"])
        ),
    }
    options = types.HttpOptions(base_url=f"{vendors.root}/", api_version="gemini")
    with genai.Client(api_key=KEY, http_options=options) as client:
        image = client.models.generate_content(model="gemini-3-pro-image", contents="An owl", config=config["image"])
        sound = client.models.generate_content(model="gemini-3.8-flash-tts", contents="Hoot", config=config["sound"])
        part = types.Part.from_bytes(data=b"hoot", mime_type="audio/wav")
        words = client.models.generate_content(model="gemini-3.5-transcribe", contents=part, config=config["words"])
        asked = camel(vendors.asked[-1].body)

    assert image.parts is not None
    assert image.parts[0].inline_data is not None
    assert image.parts[0].inline_data.data == b"An owl 3:2"
    assert sound.parts is not None
    assert sound.parts[0].inline_data is not None
    assert sound.parts[0].inline_data.data == b"Hoot Kore "
    assert words.text == "heard hoot"
    assert asked["generationConfig"] == {"audioTranscriptionConfig": {"languageCodes": ["en"]}}
    assert asked["contents"][0]["parts"] == [{"inlineData": {"mimeType": "audio/wav", "data": encoded("hoot")}}]


def test_googles_own_sdk_asks_imagen_as_the_gateway_does(openai: OpenAI, vendors: FakeVendors) -> None:
    options = types.HttpOptions(base_url=f"{vendors.root}/", api_version="vertex")
    config = types.GenerateImagesConfig(
        number_of_images=2, aspect_ratio="16:9", image_size="2K", include_rai_reason=True, output_mime_type="image/jpeg"
    )
    with genai.Client(vertexai=True, api_key=KEY, http_options=options) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK is to lose the method, the API has it
        answer = client.models.generate_images(model="imagen-4.0-generate-001", prompt="An owl", config=config)
    theirs = vendors.asked[-1].body
    wide: Any = "2816x1536"
    openai.images.generate(model="imagen", prompt="An owl", n=2, size=wide, output_format="jpeg")

    images = answer.generated_images or []
    assert [each.image and each.image.image_bytes for each in images] == [b"An owl 16:9"] * 2
    assert vendors.asked[-1].body == theirs
