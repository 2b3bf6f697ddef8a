"""What the compiler is told of a class. Never compiled itself: what runs it needs none of the compiler's packages.

``mypyc_attr(acyclic=True)`` is for classes whose objects can't hold themselves: the collector of garbage need not know
of them, as with ``gc=False`` of a Struct.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:

    def mypyc_attr(**_):
        """Leave a class as it is: only the compiler reads it."""
        return lambda made: made


__all__ = ["mypyc_attr"]
