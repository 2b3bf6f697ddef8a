"""Conversations: items that Responses are prepended with, and add to."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.dataplane.stored.records import Json, encode

MOST_ITEMS: Final = 10_000
"""Items that one conversation may hold."""

TABLES: Final = """
CREATE TABLE IF NOT EXISTS conversations (
    organization TEXT NOT NULL,
    id TEXT NOT NULL,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    metadata BLOB NOT NULL,
    PRIMARY KEY (organization, id)
);
CREATE TABLE IF NOT EXISTS conversation_items (
    organization TEXT NOT NULL,
    conversation TEXT NOT NULL,
    id TEXT NOT NULL,
    item BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS items_of_conversations ON conversation_items (organization, conversation);
"""

Write = tuple[str, tuple[Any, ...]]


class Conversation(Struct):
    """One conversation. ``metadata`` is JSON; ``created`` and ``changed`` are Unix seconds."""

    id: str
    created: int
    changed: int
    metadata: bytes

    def shown(self) -> Json:
        """The object as a client sees it."""
        metadata: Json = msgspec.json.decode(self.metadata)
        return {"id": self.id, "object": "conversation", "created_at": self.created, "metadata": metadata}


def creating(organization: str, conversation: Conversation) -> Write:
    """A new conversation."""
    statement = "INSERT INTO conversations (organization, id, created, changed, metadata) VALUES (?, ?, ?, ?, ?)"
    return statement, (
        organization,
        conversation.id,
        conversation.created,
        conversation.changed,
        conversation.metadata,
    )


def describing(organization: str, conversation_id: str, metadata: bytes, now: int) -> Write:
    """Other metadata."""
    statement = "UPDATE conversations SET metadata = ?, changed = ? WHERE organization = ? AND id = ?"
    return statement, (metadata, now, organization, conversation_id)


def removing(organization: str, conversation_id: str) -> list[Write]:
    """The conversation and all its items."""
    return [
        (
            "DELETE FROM conversation_items WHERE organization = ? AND conversation = ?",
            (organization, conversation_id),
        ),
        ("DELETE FROM conversations WHERE organization = ? AND id = ?", (organization, conversation_id)),
    ]


def adding(organization: str, conversation_id: str, items: list[Json], now: int) -> list[Write]:
    """Items at the end; nothing where the conversation is gone."""
    statement = (
        "INSERT INTO conversation_items (organization, conversation, id, item) SELECT ?, ?, ?, ?"
        " WHERE EXISTS (SELECT 1 FROM conversations WHERE organization = ? AND id = ?)"
    )
    writes: list[Write] = [
        (
            statement,
            (organization, conversation_id, item["id"], encode(item), organization, conversation_id),
        )
        for item in items
    ]
    touched = "UPDATE conversations SET changed = ? WHERE organization = ? AND id = ?"
    return [*writes, (touched, (now, organization, conversation_id))]


def taking_out(organization: str, conversation_id: str, item_id: str) -> Write:
    """One item is removed."""
    statement = "DELETE FROM conversation_items WHERE organization = ? AND conversation = ? AND id = ?"
    return statement, (organization, conversation_id, item_id)
