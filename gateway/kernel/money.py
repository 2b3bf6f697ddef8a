"""Money is integer nano-dollars (10⁻⁹ US dollars); floats and text exist only at the edges."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

NANOS_PER_DOLLAR = 1_000_000_000


def to_nanos(dollars: Decimal | float | int | str) -> int:
    """Nano-dollars, rounded half to even. A float counts as the decimal number it prints as.

    Raises :class:`ValueError` for what is no finite number.
    """
    try:
        amount = Decimal(str(dollars))
        nanos = (amount * NANOS_PER_DOLLAR).to_integral_value(ROUND_HALF_EVEN)
    except ArithmeticError:
        raise ValueError(f"{dollars!r} is not an amount of money") from None
    if not nanos.is_finite():
        raise ValueError(f"{dollars!r} is not an amount of money")
    return int(nanos)


def to_dollars(nanos: int) -> float:
    """Dollars as the JSON number an API shows."""
    return float(Decimal(nanos) / NANOS_PER_DOLLAR)
