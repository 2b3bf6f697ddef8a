"""A file and a batch as they are kept, and as clients see them.

Source: OpenAI API reference, "Files" and "Batch". Times are Unix seconds, sizes bytes.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct, field

Json: TypeAlias = dict[str, Any]

Status = Literal["validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"]
UNFINISHED: Final = ("validating", "in_progress", "finalizing", "cancelling")
PURPOSE: Final = "batch"
OUTPUT: Final = "batch_output"
WINDOW: Final = 86_400
"""Seconds that a batch may take: the one completion window there is, ``24h``."""


class File(Struct):
    """A file. ``purpose`` is ``batch`` for one that was uploaded, ``batch_output`` for one that a batch wrote."""

    id: str
    filename: str
    purpose: str
    bytes: int
    created: int
    expires: int

    def shown(self) -> Json:
        """The object as a client sees it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created,
            "expires_at": self.expires,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class Author(Struct):
    """Whose requests the lines are: the SHA-256 of a credential, in hex, with which it is looked up again each time;
    ``app`` is the name that an app's credential begins with, ``address`` the one the batch was created from.
    """

    credential: str
    digest: str
    app: str | None = None
    address: str | None = None


class Fault(Struct, omit_defaults=True):
    """Why a batch failed; ``line`` counts from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None

    def shown(self) -> Json:
        """The object as a client sees it."""
        return {"code": self.code, "line": self.line, "message": self.message, "param": self.param}


class Batch(Struct):
    """A batch. ``ends_as`` is what it becomes when its answers are written; ``done`` and ``failed`` are lines that were
    answered well and otherwise, ``stored`` the bytes of their answers. ``at`` has when it entered each status.
    """

    id: str
    organization: str
    author: Author
    endpoint: str
    input_file: str
    created: int
    expires: int
    status: Status = "validating"
    ends_as: Status = "completed"
    total: int = 0
    metadata: dict[str, str] | None = None
    output_seconds: int | None = None
    output_file: str | None = None
    error_file: str | None = None
    faults: list[Fault] = field(default_factory=list)
    at: dict[str, int] = field(default_factory=dict)
    done: int = 0
    failed: int = 0
    stored: int = 0

    @property
    def is_unfinished(self) -> bool:
        """Whether there is still something to do."""
        return self.status in UNFINISHED

    def enter(self, status: Status, now: float) -> None:
        """Change the status at Unix time ``now``."""
        self.status = status
        self.at[status] = int(now)

    def shown(self) -> Json:
        """The object as a client sees it."""
        at = self.at
        errors = {"object": "list", "data": [each.shown() for each in self.faults]} if self.faults else None
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": errors,
            "input_file_id": self.input_file,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file,
            "error_file_id": self.error_file,
            "created_at": self.created,
            "in_progress_at": at.get("in_progress"),
            "expires_at": self.expires,
            "finalizing_at": at.get("finalizing"),
            "completed_at": at.get("completed"),
            "failed_at": at.get("failed"),
            "expired_at": at.get("expired"),
            "cancelling_at": at.get("cancelling"),
            "cancelled_at": at.get("cancelled"),
            "request_counts": {"total": self.total, "completed": self.done, "failed": self.failed},
            "metadata": self.metadata,
        }
