"""``POST /v1/responses/compact`` for a model of Chat Completions: it is asked to sum up what was said.

The answer has the user's messages and one item with the summary, sealed, which stands for all else in later requests.
Source: OpenAI API reference, "Compact a response".
"""

from __future__ import annotations

from typing import Final

from gateway.protocols.base import Json
from gateway.protocols.responses import summary
from gateway.protocols.responses.response import Memo, usage_of
from gateway.protocols.sealed import seal

FIELDS: Final = frozenset(
    (
        *("model", "input", "instructions", "previous_response_id", "service_tier"),
        *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
    )
)
"""What such a request may have."""
_ASKED: Final = (
    "Sum up this conversation for the one who goes on with it and will not see it: what was wanted, what was found and"
    " decided, what was done with which tools and results, and what is still to be done. Keep names, numbers, paths and"
    " quotations exact. Answer with the summary alone."
)


def asked(chat: Json) -> Json:
    """The request for a summary, out of the one for an answer."""
    return {**chat, "messages": [*chat["messages"], {"role": "user", "content": _ASKED}]}


def compacted(completion: Json, memo: Memo, users: list[Json]) -> Json:
    """The answer. ``users`` are the user's messages, as items."""
    choices = completion.get("choices") or [{}]
    message = choices[0].get("message") or {}
    sealed = seal({summary.FIELD: str(message.get("content") or message.get("refusal") or "")})
    item = {"id": memo.item_id("cmp", len(users)), "type": "compaction", "encrypted_content": sealed}
    return {
        "id": memo.id,
        "object": "response.compaction",
        "created_at": memo.created,
        "output": [*users, item],
        "usage": usage_of(completion.get("usage") or {}),
    }
