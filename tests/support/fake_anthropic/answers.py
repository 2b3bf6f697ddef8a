"""What the fake model says: a pure function of the request, so that a test can tell two answers apart.

* A plain answer is ``"[<system>] <n> turns, <k> images, <d> documents; <last user text>"`` (zeros are left out).
* Tools named in the last user text are called at once; ``tool_choice`` is obeyed; once their results are in, the answer
  is ``"Tools said: <result>; <result>"``.
* With thinking it thinks ``"About <text>"``, and before that behind closed doors where the text says ``secretly``.
* A document with citations is cited; the server tool ``web_search`` is run where the text says ``search``.
* ``refuse`` at the beginning is refused.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.fake_openai.answers import digest, tokens
from tests.support.fake_openai.samples import sample

Json = dict[str, Any]
CACHED, WRITTEN = 20, 10


def message(body: Json) -> Json:
    """The whole answer."""
    blocks, reason, stop = _content(body)
    written = WRITTEN if '"cache_control"' in json.dumps(body) else 0
    said = sum(len(tokens(json.dumps(block.get("input") or block.get("text") or ""))) for block in blocks)
    thought = sum(len(tokens(block.get("thinking", ""))) for block in blocks)
    usage: Json = {
        "input_tokens": input_tokens(body),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": CACHED if written else 0,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": said + thought,
        "service_tier": "standard",
    }
    if thought:
        usage["output_tokens_details"] = {"thinking_tokens": thought}
    answer: Json = {
        "id": f"msg_{digest(body)}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": stop,
        "usage": usage,
    }
    if reason == "refusal":
        answer["stop_details"] = {"type": "refusal", "category": None, "explanation": "That is against the rules."}
    return answer


def input_tokens(body: Json) -> int:
    """Words of everything that was sent, roughly."""
    return len(tokens(json.dumps([body.get("system"), body["messages"], body.get("tools")])))


def text_of(content: Any) -> str:
    """The text of a turn or a result."""
    if isinstance(content, str):
        return content
    return " ".join(block["text"] for block in content or () if block.get("type") == "text")


def _content(body: Json) -> tuple[list[Json], str, str | None]:
    last = [turn for turn in body["messages"] if turn["role"] == "user"][-1]
    text = text_of(last["content"])
    blocks = _thoughts(body, text)
    if text.startswith("refuse"):
        return [], "refusal", None
    calls = _calls(body, last, text)
    if calls:
        return [*blocks, *calls], "tool_use", None
    if "search" in text and any(tool.get("name") == "web_search" for tool in body.get("tools", ())):
        return [*blocks, *_search(text)], "end_turn", None
    answer, reason, stop = _limited(body, _plain(body, last, text))
    block: Json = {"type": "text", "text": answer}
    citations = _citations(body)
    if citations:
        block["citations"] = citations
    return [*blocks, block], reason, stop


def _thoughts(body: Json, text: str) -> list[Json]:
    if body.get("thinking", {}).get("type") not in ("enabled", "adaptive"):
        return []
    secret = [{"type": "redacted_thinking", "data": f"EmwK{digest(text)}"}] if "secretly" in text else []
    return [*secret, {"type": "thinking", "thinking": f"About {text}", "signature": f"EqoB{digest('s', text)}"}]


def _calls(body: Json, last: Json, text: str) -> list[Json]:
    choice = body.get("tool_choice", {"type": "auto"})
    tools = [tool for tool in body.get("tools", ()) if "input_schema" in tool]
    answered = isinstance(last["content"], list) and any(block["type"] == "tool_result" for block in last["content"])
    if choice["type"] == "none" or (answered and choice["type"] == "auto"):
        return []
    wanted = [tool for tool in tools if tool["name"] in text]
    if choice["type"] == "tool":
        wanted = [tool for tool in tools if tool["name"] == choice["name"]]
    elif choice["type"] == "any":
        wanted = wanted or tools[:1]
    if choice.get("disable_parallel_tool_use"):
        wanted = wanted[:1]
    return [
        {
            "type": "tool_use",
            "id": f"toolu_{digest(text, tool['name'])}",
            "name": tool["name"],
            "input": sample(tool["input_schema"], text),
        }
        for tool in wanted
    ]


def _search(text: str) -> list[Json]:
    found = {"type": "web_search_result", "url": "https://example.com/a", "title": "A", "encrypted_content": "EoIB"}
    cited = {
        "type": "web_search_result_location",
        "url": found["url"],
        "title": "A",
        "encrypted_index": "Eo8B",
        "cited_text": "It is so.",
    }
    call = f"srvtoolu_{digest(text)}"
    return [
        {"type": "server_tool_use", "id": call, "name": "web_search", "input": {"query": text}},
        {"type": "web_search_tool_result", "tool_use_id": call, "content": [found]},
        {"type": "text", "text": f"Found for {text}", "citations": [cited]},
    ]


def _plain(body: Json, last: Json, text: str) -> str:
    wanted = body.get("output_config", {}).get("format")
    if wanted:
        return json.dumps(sample(wanted["schema"], text), ensure_ascii=False)
    blocks = [block for turn in body["messages"] if isinstance(turn["content"], list) for block in turn["content"]]
    results = [block for block in blocks if block["type"] == "tool_result"]
    if results and isinstance(last["content"], list) and results[-1] in last["content"]:
        said = [("failed: " if each.get("is_error") else "") + text_of(each.get("content")) for each in results]
        return "Tools said: " + "; ".join(said)
    inner = [part for each in results if isinstance(each.get("content"), list) for part in each["content"]]
    kinds = [block["type"] for block in (*blocks, *inner)]
    counts = [
        (len(body["messages"]), "turns"),
        (kinds.count("image"), "images"),
        (kinds.count("document"), "documents"),
    ]
    system = text_of(body.get("system"))
    return (f"[{system}] " if system else "") + ", ".join(f"{n} {name}" for n, name in counts if n) + f"; {text}"


def _limited(body: Json, answer: str) -> tuple[str, str, str | None]:
    for stop in body.get("stop_sequences", ()):
        if stop in answer:
            return answer[: answer.index(stop)], "stop_sequence", stop
    cut = tokens(answer)
    if len(cut) > body["max_tokens"]:
        return "".join(cut[: body["max_tokens"]]), "max_tokens", None
    return answer, "end_turn", None


def _citations(body: Json) -> list[Json]:
    found = []
    for turn in body["messages"]:
        blocks = turn["content"] if isinstance(turn["content"], list) else ()
        for number, block in enumerate(each for each in blocks if each["type"] == "document"):
            if block.get("citations", {}).get("enabled"):
                cited = str(block["source"].get("data", ""))[:12]
                place = {"start_char_index": 0, "end_char_index": len(cited)}
                title = {"document_index": number, "document_title": block.get("title")}
                found.append({"type": "char_location", "cited_text": cited, **title, **place})
    return found


def pieces(text: str) -> list[str]:
    """A text as it is streamed."""
    return re.findall(r"\S+\s*|\s+", text)
