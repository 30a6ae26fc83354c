"""Which doubles come back from a database that keeps JSON text and reads it without exact rounding.

Chroma and Qdrant read stored numbers with Rust's ``serde_json`` without its feature ``float_roundtrip``: the digits as
an integer, then multiplications or divisions by powers of ten with one rounding each (``de.rs``: ``f64_from_parts``).
One in ten doubles of 16 or 17 digits comes back one unit in the last place off.
"""

from __future__ import annotations

from typing import Final

_POWERS: Final = tuple(float(f"1e{n}") for n in range(309))


def survives_serde_json(value: float) -> bool:
    """Whether a finite double comes back as it went in; what becomes of the sign of zero is the database's matter.

    The text is the shortest one that names the double; whole numbers below 1e16 end in ``.0``, which is read along.
    """
    text = repr(value)
    if len(text) <= 16 and "e" not in text:
        # At most 15 digits and a small power of ten: both are exact, and one rounding gives the nearest double.
        return True
    mantissa, _, exponent = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    result = float(int(whole + fraction))
    power = int(exponent or 0) - len(fraction)
    while power < -308:
        result /= 1e308
        power += 308
    result = result * _POWERS[power] if power >= 0 else result / _POWERS[-power]
    return result == abs(value)
