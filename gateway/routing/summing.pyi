"""Compiled from summing.c by ``scripts/compile.py``. What runs from source has none of it, and asks NumPy."""

from typing_extensions import Buffer

class Summing:
    """Says of prompts what was learned. Not to be shared between threads: it has a scratch of its own."""

    def __new__(
        cls,
        *,
        table: Buffer,
        values: Buffer,
        kinds: Buffer,
        classes: Buffer,
        sizes: Buffer,
        steps: Buffer,
        intercepts: Buffer,
        ends: Buffer,
        blend: Buffer,
        owners: Buffer,
        trusts: Buffer,
        row: int,
        sets: int,
        tasks: int,
        names: int,
    ) -> Summing:
        """Numbers are 64 bits each where nothing else is said, arrays are contiguous.

        ``table`` has ``row`` bytes for each feature, whole 32, raised by 128: of each set, of the tasks in the order of
        their sets, of the experts in the order of their names. ``values`` (32 bits), ``kinds`` and ``classes`` are of
        each byte, ``sizes`` of each count: as in :mod:`~gateway.routing.features`. ``steps`` and ``intercepts`` are of
        each column; ``ends`` of each set where its tasks end.

        ``blend`` is of each 12 columns, of each task, 12 numbers (32 bits): of each name what is likely, seen, and the
        tokens, then of each expert its rate, nought outside of its set. ``owners`` has of each expert the place of its
        name, its column in the table, its set; ``trusts`` its trust. Raises ``ValueError`` where these do not fit
        together.
        """
    def read(self, raw: bytes, characters: int, /) -> list[float]:
        """The place of the likeliest task, how likely it is; then of each name the probability of a good answer, its
        standard error, the answer's tokens. ``raw`` is what :func:`~gateway.routing.features.raw_of` gives.

        Raises ``ValueError`` for more than that.
        """
