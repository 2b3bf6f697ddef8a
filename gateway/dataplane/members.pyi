"""Compiled from members.c by ``scripts/compile.py``, for x86-64; nothing else has it."""

def members(body: bytes, /) -> tuple[bool, list[tuple[str, int, int]]] | None:
    """Whether an object is ASCII, and the (name, start, end) of its members, in bytes; None: not vouched for.

    Source: RFC 8259 section 4. Raises ``TypeError`` for what is not bytes; the import raises ``ImportError`` on a
    processor without AVX2.
    """
