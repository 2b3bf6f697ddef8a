from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plugin.api import Response
from gateway.plugin.chain import Chain
from gateway.plugin.load import PluginError
from gateway.plugin.sse import data_of, split_events
from plugins.pii_redaction.plugin import LARGE
from tests.support.plugins import configured, delta, make_request, run_stream, sse

PII = {
    "EMAIL": ["joe.doe+x@mail.example.co.uk", "zoë@bücher.example"],
    "PHONE": [
        "+49 30 1234567",
        "(212) 555-1234",
        "212.555.1234",
        "020 7946 0958",
        "(020) 7946 0958",
        "0044 20 7946 0958",
    ],
    "CREDIT_CARD": ["4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005"],
    "IBAN": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"],
    "IP": ["192.168.10.254", "2001:db8::8a2e:370:7334", "::1"],
    "US_SSN": ["536-90-4399"],
}
HARMLESS = ["2024-01-01 12:00", "31.12.2024", "version 1.2.3", "std::vector", "$1,000.00", "12:30:45", "a@b", "1234567"]
ALL = [text for texts in PII.values() for text in texts]
TEXTS = st.lists(
    st.sampled_from([*ALL, *HARMLESS, "Hi ", " ", ", ", ". ", "<EMAIL_1>", "<", "é", "\n", "x"]), max_size=8
)
CUTS = st.lists(st.integers(1, 7), min_size=1, max_size=6)


def user(text: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


async def sent(chain: Chain, text: str) -> str:
    """What of a text goes upstream."""
    request = make_request(user(text), chain=chain)
    await chain.request(request)
    return str(orjson.loads(request.raw)["messages"][0]["content"])


async def answered(chain: Chain, text: str, answer: str) -> str:
    """What the client gets of a whole answer."""
    request = make_request(user(text), chain=chain)
    await chain.request(request)
    body = orjson.dumps({"choices": [{"index": 0, "message": {"content": answer}, "finish_reason": "stop"}]})
    response = Response(200, "application/json", body)
    await chain.response(request, response)
    return str(orjson.loads(response.body)["choices"][0]["message"]["content"])


async def streamed(chain: Chain, text: str, answer: str, cuts: list[int]) -> str:
    """What the client gets of a streamed answer that is cut at these lengths in turn."""
    request = make_request(user(text, stream=True), chain=chain)
    await chain.request(request)
    pieces: list[str] = []
    start = 0
    while start < len(answer):
        pieces.append(answer[start : start + cuts[len(pieces) % len(cuts)]])
        start += len(pieces[-1])
    out = await run_stream(chain, request, sse(*map(delta, pieces), delta(finish="stop"), "[DONE]"))
    events = [data_of(event) or b"" for event in split_events(b"".join(out))]
    assert events[-1] == b"[DONE]"
    deltas = [orjson.loads(data)["choices"][0]["delta"] for data in events[:-1]]
    assert deltas[-1] == {}
    return "".join([inner.get("content", "") for inner in deltas])


@pytest.mark.parametrize(("label", "text"), [(label, text) for label, texts in PII.items() for text in texts])
@pytest.mark.parametrize("frame", ["{}", "It is {}.", "({}), yes", "x\n{}\ny", '"{}"', "{} IS MINE 12"])
async def test_personal_data_goes_out_as_a_placeholder(label: str, text: str, frame: str) -> None:
    assert await sent(configured("pii_redaction"), frame.format(text)) == frame.format(f"<{label}_1>")


@pytest.mark.parametrize(
    "text", [*HARMLESS, "4111 1111 1111 1112", "DE88370400440532013000", "1.2.3.4.5", "a::b", "<EMAIL_1>"]
)
async def test_look_alikes_stay(text: str) -> None:
    assert await sent(configured("pii_redaction"), text) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("br_cpf", "390.533.447-05"),
        ("ca_sin", "123 456 782"),
        ("de_idnr", "36 574 261 809"),
        ("es_dni", "54362315K"),
        ("es_nie", "X-2482300W"),
        ("fr_nir", "2 95 10 99 126 111 93"),
        ("in_aadhaar", "2341 2341 2346"),
        ("it_codice_fiscale", "RCCMNL83S18D969H"),
        ("nl_bsn", "1112.22.333"),
        ("pl_pesel", "44051401359"),
    ],
)
async def test_national_numbers_are_checked(name: str, text: str) -> None:
    chain = configured("pii_redaction", {"entities": [name]})
    assert await sent(chain, f"id {text}.") == f"id <{name.upper()}_1>."
    digit = next(index for index in range(len(text) - 1, -1, -1) if text[index].isdigit())
    wrong = text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :]
    assert await sent(chain, f"id {wrong}.") == f"id {wrong}."


async def test_the_same_text_has_the_same_placeholder_and_another_another() -> None:
    request = make_request(user("a@x.org b@x.org a@x.org", user="b@x.org", tools=[{"description": "a@x.org"}]))
    chain = configured("pii_redaction")
    await chain.request(request)
    assert request.body["messages"][0]["content"] == "<EMAIL_2> <EMAIL_1> <EMAIL_2>"
    assert request.body["user"] == "<EMAIL_1>"
    assert request.body["tools"] == [{"description": "a@x.org"}]


async def test_a_request_without_personal_data_is_forwarded_byte_for_byte() -> None:
    request = make_request(None)
    request.is_json = True
    request._raw = b'{ "messages": [{"content":"hi"}]  }'
    chain = configured("pii_redaction")
    await chain.request(request)
    assert request.raw == b'{ "messages": [{"content":"hi"}]  }'
    event = sse(delta("a@x.org"))[0]
    assert await chain.chunk(request, event) is event


async def test_placeholders_come_back_as_the_originals() -> None:
    chain = configured("pii_redaction")
    answer = "Wrote to <EMAIL_2>, not <email_1> or &lt;EMAIL_1&gt; or <EMAIL_3> or <IBAN_1>."
    expected = "Wrote to b@x.org, not a@x.org or a@x.org or <EMAIL_3> or <IBAN_1>."
    assert await answered(chain, "a@x.org b@x.org", answer) == expected


async def test_a_placeholder_that_the_client_wrote_keeps_its_meaning() -> None:
    chain = configured("pii_redaction")
    assert await sent(chain, "<EMAIL_1> is a@x.org") == "<EMAIL_1> is <EMAIL_2>"
    assert await answered(chain, "<EMAIL_1> is a@x.org", "<EMAIL_1> <EMAIL_2>") == "<EMAIL_1> a@x.org"


async def test_two_requests_share_nothing() -> None:
    chain = configured("pii_redaction")
    assert await answered(chain, "a@x.org", "<EMAIL_1>") == "a@x.org"
    assert await answered(chain, "b@x.org", "<EMAIL_1>") == "b@x.org"
    assert await answered(chain, "none", "<EMAIL_1>") == "<EMAIL_1>"


async def test_redact_mode_gives_nothing_back() -> None:
    chain = configured("pii_redaction", {"mode": "redact"})
    assert await sent(chain, "a@x.org and b@x.org") == "<EMAIL> and <EMAIL>"
    assert await answered(chain, "a@x.org", "<EMAIL> <EMAIL_1>") == "<EMAIL> <EMAIL_1>"


async def test_personal_data_of_the_model_is_redacted_but_not_the_clients_own() -> None:
    chain = configured("pii_redaction", {"response": True})
    assert await answered(chain, "I am a@x.org", "<EMAIL_1> a@x.org c@x.org") == "a@x.org a@x.org <EMAIL>"
    only_answers = configured("pii_redaction", {"response": True, "request": False})
    assert await answered(only_answers, "I am a@x.org", "a@x.org") == "<EMAIL>"


async def test_custom_patterns_come_first() -> None:
    chain = configured("pii_redaction", {"custom": [{"label": "EMPLOYEE", "pattern": r"\bEMP-\d{6}\b|boss@\S+"}]})
    assert await sent(chain, "EMP-123456, boss@x.org, joe@x.org") == "<EMPLOYEE_1>, <EMPLOYEE_2> <EMAIL_1>"


async def test_tool_calls_are_redacted_and_restored_inside_their_json() -> None:
    chain = configured("pii_redaction", {"custom": [{"label": "QUOTE", "pattern": '"[a-z]+"'}]})
    arguments = json.dumps({"to": "a@x.org", "say": 'the "word" \n', "card": 4111111111111111})
    message = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": arguments}}]}
    request = make_request({"model": "m", "messages": [message]}, chain=chain)
    await chain.request(request)
    out = json.loads(request.body["messages"][0]["tool_calls"][0]["function"]["arguments"])
    assert out == {"to": "<EMAIL_1>", "say": "the <QUOTE_1> \n", "card": "<CREDIT_CARD_1>"}
    call = {"function": {"name": "f", "arguments": json.dumps({"a": "<QUOTE_1>", "b": "<EMAIL_1>"})}}
    response = Response(200, "application/json", orjson.dumps({"choices": [{"message": {"tool_calls": [call]}}]}))
    await chain.response(request, response)
    restored = response.json["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(restored) == {"a": '"word"', "b": "a@x.org"}


async def test_a_streamed_tool_call_stays_json_in_any_pieces() -> None:
    chain = configured("pii_redaction", {"custom": [{"label": "QUOTE", "pattern": '"[a-z]+"'}], "response": True})
    arguments = r'{"a":"<QUOTE_1>\n\u003cEMAIL_1\u003e","n":4111111111111111,"new":"c\u0040x.org"}'
    for size in range(1, 12):
        request = make_request(user('"word" a@x.org', stream=True), chain=chain)
        await chain.request(request)
        parts = [arguments[start : start + size] for start in range(0, len(arguments), size)]
        events = sse(
            *[delta(tool_calls=[{"index": 0, "function": {"arguments": part}}]) for part in parts],
            delta(finish="tool_calls"),
            "[DONE]",
        )
        out = split_events(b"".join(await run_stream(chain, request, events)))[:-1]
        deltas = [orjson.loads(data_of(event) or b"")["choices"][0]["delta"] for event in out]
        merged = "".join([inner["tool_calls"][0]["function"]["arguments"] for inner in deltas if inner])
        assert json.loads(merged) == {"a": '"word"\na@x.org', "n": "<CREDIT_CARD>", "new": "<EMAIL>"}


@given(asked=TEXTS, answer=TEXTS, cuts=CUTS, response=st.booleans())
async def test_any_pieces_give_what_the_whole_answer_gives(
    asked: list[str], answer: list[str], cuts: list[int], response: bool
) -> None:
    chain = configured("pii_redaction", {"response": response})
    text, said = "".join(asked), "".join(answer)
    assert await streamed(chain, text, said, cuts) == await answered(chain, text, said)


@given(parts=TEXTS)
async def test_what_goes_out_comes_back(parts: list[str]) -> None:
    chain = configured("pii_redaction")
    text = "".join(parts)
    assert await answered(chain, text, await sent(chain, text)) == text


@given(before=st.text(max_size=30), after=st.text(max_size=30), text=st.sampled_from(PII["EMAIL"] + PII["CREDIT_CARD"]))
async def test_personal_data_between_any_words_does_not_go_out(before: str, after: str, text: str) -> None:
    assert text not in await sent(configured("pii_redaction"), f"{before} | {text} | {after}")


async def test_restoring_holds_back_only_what_may_become_a_placeholder() -> None:
    chain = configured("pii_redaction")
    request = make_request(user("a@x.org", stream=True), chain=chain)
    await chain.request(request)
    for text in ("Hello", " wor", "ld 12", " a < b ", "<b>"):
        event = sse(delta(text))[0]
        assert await chain.chunk(request, event) is event


async def test_a_large_body_is_treated_alike() -> None:
    chain = configured("pii_redaction")
    filler = "Some words and 42 numbers. " * (LARGE // 20)
    assert await sent(chain, filler + "a@x.org") == filler + "<EMAIL_1>"
    assert await answered(chain, "a@x.org", filler + "<EMAIL_1>") == filler + "a@x.org"


async def test_bodies_that_are_not_json_pass() -> None:
    chain = configured("pii_redaction", {"response": True})
    request = make_request(None, chain=chain)
    await chain.request(request)
    assert request.state == {}
    request = make_request(user("x"), chain=chain)
    await chain.request(request)
    for kind, body in (
        ("audio/mpeg", b"a@x.org"),
        ("application/json", b"broken a@x.org"),
        ("application/json", b"[1]"),
    ):
        response = Response(200, kind, body)
        await chain.response(request, response)
        assert response.body == body


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"entities": ["emial"]}, "plugins[0].with.entities[0]: expected one of email, phone"),
        ({"custom": [{"label": "X", "pattern": "("}]}, "plugins[0].with.custom[0].pattern: invalid regular expression"),
        ({"custom": [{"label": "X", "pattern": "a*"}]}, "custom[0].pattern: the regular expression matches the empty"),
        ({"custom": [{"label": "x y", "pattern": "a"}]}, "plugins[0].with.custom[0].label: expected `str` matching"),
        ({"entities": []}, "plugins[0].with.entities: expected at least one entity or custom"),
    ],
)
def test_a_bad_configuration_is_explained(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(PluginError) as caught:
        configured("pii_redaction", config)
    assert expected in str(caught.value)
