"""Logs as JSON lines on standard error, one object a line, the same from every process.

Every line has ``ts`` (seconds since 1970), ``level``, ``logger``, ``pid`` and ``message``, and what was given as
``extra``. A traceback is in ``exception``. Nothing that is a secret may be passed in.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, TextIO

import orjson

# A line for each request that goes out, with its URL, in which some issuers and databases want their secrets.
_NOISY = ("httpx", "httpcore")

_STANDARD = frozenset(
    (*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName")
)  # taskName came with Python 3.12


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": os.getpid(),
            "message": record.getMessage(),
        }
        for name, value in record.__dict__.items():
            if name not in _STANDARD:
                line.setdefault(name, value)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure(level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send the logs of this process, and of those forked from it, to ``stream`` (standard error)."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
