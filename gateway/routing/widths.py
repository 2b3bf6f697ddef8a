"""The compiler's whole number of 64 bits. Never compiled itself: what runs it needs none of the compiler's packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import i64
else:
    try:
        from mypy_extensions import i64
    except ImportError:
        i64 = int  # compiled, nothing reads it

__all__ = ["i64"]
