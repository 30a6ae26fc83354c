r"""Canonical JSON: one spelling for every value, in which the metadata of a record is stored and hashed.

**Text.** UTF-8, no white space, no byte order mark. Object keys are unique and sorted by code point, as they
are spelled, which is also the order of their UTF-8 bytes. In strings only ``"``, ``\`` and U+0000 to U+001F
are escaped: ``\"``, ``\\``, ``\b``, ``\t``, ``\n``, ``\f``, ``\r``, and ``\u00xx`` in lower case hexadecimal
for the other control characters. U+007F and everything above stand as they are.

**Integers** are written digit by digit at any size; the integer ``-0`` is ``0``.

**Floats** are IEEE 754 doubles. Let d1...dn be the shortest run of decimal digits that reads back as the same
double (of several such runs the one closest to it), without leading or trailing zeros, and k the power of ten
with value = 0.d1...dn x 10^k.

- Zero is ``0.0``; negative zero is ``-0.0``.
- -5 < k <= 0: ``0.``, then -k zeros, then the digits: ``0.1``, ``0.00001``.
- 0 < k <= 16: positional. With n <= k the digits, k - n zeros and ``.0``: ``100.0``, ``1000000000000000.0``.
  With n > k the point stands after digit k: ``12.5``.
- Every other k: d1, then ``.`` and d2...dn if n > 1, then ``e``, the sign of k - 1 (always written) and k - 1
  without leading zeros: ``1e-6``, ``1.5e-7``, ``1e+16``, ``5e-324``, ``1.7976931348623157e+308``.
- A leading ``-`` if negative. So a float always holds ``.`` or ``e``, and an integer never does.

**Numbers read from text.** A token without ``.`` and exponent is an integer. Any other token is a float if
its digits and k are the shortest ones of the nearest double; if not, it is a decimal. ``0.10`` is the float
``0.1``: trailing zeros are no part of a number.

**Tags** hold what JSON cannot. A tag is an object with the single key ``$vp``:

- ``{"$vp":"NaN"}``, ``{"$vp":"Infinity"}``, ``{"$vp":"-Infinity"}``. Sign and payload of a NaN are not kept.
- ``{"$vp":{"bytes":B}}``: B is padded standard base64.
- ``{"$vp":{"decimal":D}}``: D is spelled from its digits and k by the rule for floats.
- ``{"$vp":{"wtf8":B}}``: a string with lone surrogates; B is the base64 of its UTF-8 bytes with each
  surrogate as three bytes (WTF-8; a high and a low one that the source kept apart stay apart).
- ``{"$vp":{"object":[[key,value],...]}}``: an object with such a string among its keys. Keys are spelled as
  string values, and sorted by their WTF-8 bytes.

A user's key that is one or more ``$`` followed by ``vp`` gets one more ``$`` in front, except in an
``object`` tag, where keys are values. So nothing that a user writes reads as a tag.

**Depth.** Arrays and objects nest at most 128 deep; a scalar has depth 0, and the brackets of a tag do not
count.
"""

from __future__ import annotations

import json
import re
import sys
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import MAX_EMAX, MAX_PREC, Context, Decimal, localcontext
from enum import Enum
from itertools import pairwise
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, Final

import orjson

from ..errors import IntegrityError, NotRepresentable

if TYPE_CHECKING:
    import pyarrow as pa

MAX_DEPTH: Final = 128
"""Arrays and objects nest at most this deep."""
MAX_EXPONENT: Final = 999_999_999
"""A decimal needs |k| at most this; a larger one is refused, as few libraries could hold it."""

_OPTIONS: Final = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
# Python can be set to refuse integers of more digits than this; as it is, it takes 4,300.
_CHEAP_DIGITS: Final = 4_000 if sys.get_int_max_str_digits() in (0, sys.int_info.default_max_str_digits) else 600
_CHEAP_BITS: Final = int(3.322 * _CHEAP_DIGITS)
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_NOT_FINITE: Final = frozenset({"NaN", "Infinity", "-Infinity"})
_TAG: Final = "$vp"
# The end of a key: inside a string the quote would be escaped. One byte is found much faster than five.
_TAG_LIKE: Final = b'$vp":'
_USER_KEY: Final = re.compile(r"\$+vp")


def _split(token: str) -> tuple[bool, str, int]:
    """Take a JSON number apart: negative, significant digits without outer zeros, power of ten k."""
    mantissa, _, exponent = token.lower().partition("e")
    whole, _, fraction = mantissa.removeprefix("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return token.startswith("-"), "", 0
    power = exponent.lstrip("+-0")
    if len(power) > 18:
        raise _huge_exponent()
    shift = -int(power or 0) if exponent.startswith("-") else int(power or 0)
    return token.startswith("-"), digits.rstrip("0"), len(digits) - len(fraction) + shift


def _huge_exponent() -> NotRepresentable:
    return NotRepresentable("a decimal with a huge exponent", f"its exponent may be at most {MAX_EXPONENT:,}")


def _spell(negative: bool, digits: str, point: int) -> str:
    """Spell a number from its digits d1...dn and its power of ten k by the rule in the module docstring."""
    if not digits:
        text = "0.0"
    elif -5 < point <= 0:
        text = "0." + "0" * -point + digits
    elif 0 < point <= 16:
        text = digits[:point].ljust(point, "0") + "." + (digits[point:] or "0")
    else:
        text = digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + f"e{point - 1:+d}"
    return "-" + text if negative else text


def spell_float(value: float) -> str:
    """Spell a double as canonical text; NaN and the infinities as their tags."""
    if value != value:
        return '{"$vp":"NaN"}'
    if value in (inf, -inf):
        return '{"$vp":"Infinity"}' if value > 0 else '{"$vp":"-Infinity"}'
    return _spell(*_split(float.__repr__(value)))


def _real(token: str) -> float | Decimal:
    """Read a number with ``.`` or an exponent: the double that it spells, else an exact ``Decimal``."""
    value = float(token)
    shortest = repr(value)
    if shortest == token:
        return value
    negative, digits, point = _split(token)
    if not digits or (isfinite(value) and _split(shortest) == (negative, digits, point)):
        return value
    if abs(point) > MAX_EXPONENT:
        raise _huge_exponent()
    # An exponent of zero would make it an integer.
    tail = ".0" if len(digits) == point else f"e{point - len(digits)}"
    return Decimal(("-" if negative else "") + digits + tail)


def read_integer(token: str) -> int:
    """Read an integer of any size, by halves, which takes far less than quadratic time."""
    if len(token) <= _CHEAP_DIGITS:
        return int(token)
    if token.startswith("-"):
        return -read_integer(token[1:])
    low = len(token) // 2
    value: int = read_integer(token[:-low]) * 10**low + read_integer(token[-low:])
    return value


def _spell_integer(value: int) -> str:
    bits = value.bit_length()
    if bits <= _CHEAP_BITS:
        return int.__repr__(value)
    with localcontext(Context(prec=MAX_PREC, Emax=MAX_EMAX)):
        return ("-" if value < 0 else "") + str(_to_decimal(abs(value), bits))


def _to_decimal(value: int, bits: int) -> Decimal:
    if bits <= _CHEAP_BITS:
        return Decimal(value)
    half = bits // 2
    return _to_decimal(value >> half, bits - half) * Decimal(2) ** half + _to_decimal(value & ((1 << half) - 1), half)


def _spell_decimal(value: Decimal) -> str:
    """Spell a Decimal as the number token ``str(value)`` would be: integer, float, or decimal tag."""
    token = Decimal.__str__(value)
    if not value.is_finite():
        if token in _NOT_FINITE:
            return spell_float(float(token))
        raise NotRepresentable(f"the decimal {token}", "a NaN keeps no sign, no payload, and no signal")
    if "." not in token and "E" not in token:
        return "0" if token == "-0" else token
    real = _real(token)
    if isinstance(real, float):
        return spell_float(real)
    return '{"$vp":{"decimal":"' + _spell(*_split(token)) + '"}}'


_ESCAPED: Final = re.compile(r'["\\\x00-\x1f]')
_ESCAPES: Final = {chr(code): f"\\u{code:04x}" for code in range(32)}
_ESCAPES.update(zip('"\\\b\t\n\f\r', ('\\"', "\\\\", "\\b", "\\t", "\\n", "\\f", "\\r"), strict=True))


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _quote(text: str) -> str:
    return '"' + _ESCAPED.sub(lambda match: _ESCAPES[match[0]], text) + '"'


def _spell_string(text: str) -> str:
    text = str.__str__(text)
    if not _has_surrogates(text):
        return _quote(text)
    return '{"$vp":{"wtf8":"' + b64encode(text.encode("utf-8", "surrogatepass")).decode() + '"}}'


def escape_key(key: str) -> str:
    return "$" + key if _USER_KEY.fullmatch(key) else key


def spell_key(key: str) -> str:
    """Spell an object key.

    Args:
        key: the user's key.
    Returns:
        The JSON string that stands before the colon, with a key like ``$vp`` escaped.
    Raises:
        NotRepresentable: the key has lone surrogates, so its object needs a tag.
    """
    if _has_surrogates(key):
        raise NotRepresentable(f"the key {key!r}", "it has lone surrogates, which UTF-8 cannot hold")
    return _quote(escape_key(key))


def dumps(value: object, *, max_depth: int = MAX_DEPTH) -> str:
    """Encode a value as canonical JSON text; see ``dumpb``."""
    return dumpb(value, max_depth=max_depth).decode()


def dumpb(value: object, *, max_depth: int = MAX_DEPTH) -> bytes:
    """Encode a value as canonical JSON.

    Args:
        value: dict, list, tuple, str, bool, None, int, float, bytes, Decimal, nested at will. Instances of a
            subclass are written as their base type, except enum members. A Decimal is the number it spells.
        max_depth: how deep arrays and objects may nest.
    Returns:
        UTF-8 bytes.
    Raises:
        NotRepresentable: another type, a key that is not a string, or nesting beyond ``max_depth``.
    """
    if ORJSON_AGREES:
        try:
            out = orjson.dumps(value, option=_OPTIONS)
        except TypeError:
            return _slow_dumpb(value, max_depth)
        if (b"$" not in out or _TAG_LIKE not in out) and _is_plain(value, b"null" in out, max_depth):
            return out
    return _slow_dumpb(value, max_depth)


def _is_plain(value: Any, nulls: bool, room: int) -> bool:
    """Whether orjson spells ``value`` canonically, given that it did not raise.

    It writes enum members, UUIDs and fragments unasked, and NaN and the infinities as ``null``; so every type
    is looked at, and floats only if ``nulls`` says that a null was written.
    """
    kind = type(value)
    if kind is dict:
        items: Iterable[Any] = value.values()
    elif kind is list or kind is tuple:
        items = value
    else:
        return kind in _SCALARS and (kind is not float or isfinite(value))
    if room < 1:
        return False
    if nulls:
        for item in items:
            if type(item) is float and not isfinite(item):
                return False
    if _SCALARS.issuperset(map(type, items)):
        return True
    return all(type(item) in _SCALARS or _is_plain(item, nulls, room - 1) for item in items)


def _slow_dumpb(value: object, max_depth: int = MAX_DEPTH) -> bytes:
    """Encode without orjson: the grammar itself, against which the fast path is tested."""
    return _encode(value, max_depth).encode()


def _encode(value: Any, room: int) -> str:
    spell = _SPELLERS.get(type(value))
    if spell is None and not isinstance(value, Enum):
        spell = next((spell for kind, spell in _SPELLERS.items() if isinstance(value, kind)), None)
    if spell is None:
        name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        held = "metadata holds dict, list, str, bool, None, int, float, bytes and Decimal"
        raise NotRepresentable(f"a value of type {name}", held)
    return spell(value, room)


def _too_deep() -> NotRepresentable:
    return NotRepresentable("a deeply nested value", "arrays and objects nest deeper than the cap on depth")


def _inner(room: int) -> int:
    """Enter an array or object with ``room`` levels left; return the levels left inside it."""
    if room < 1:
        raise _too_deep()
    return room - 1


def _encode_list(value: Iterable[Any], room: int) -> str:
    room = _inner(room)
    return "[" + ",".join([_encode(item, room) for item in value]) + "]"


def _encode_dict(value: dict[Any, Any], room: int) -> str:
    room = _inner(room)
    for key in value:
        if not isinstance(key, str) or isinstance(key, Enum):
            raise NotRepresentable(f"a key of type {type(key).__qualname__}", "keys of objects are strings")
    entries = sorted([(str.__str__(key), item) for key, item in value.items()], key=lambda entry: entry[0])
    if len({key for key, _ in entries}) != len(entries):
        raise NotRepresentable("an object with one key twice", "keys of objects are unique")
    if any(_has_surrogates(key) for key, _ in entries):
        pairs = [f"[{_spell_string(key)},{_encode(item, room)}]" for key, item in entries]
        return '{"$vp":{"object":[' + ",".join(pairs) + "]}}"
    entries = sorted([(escape_key(key), item) for key, item in entries], key=lambda entry: entry[0])
    return "{" + ",".join([_quote(key) + ":" + _encode(item, room) for key, item in entries]) + "}"


_SPELLERS: Final[dict[type, Callable[[Any, int], str]]] = {
    type(None): lambda value, room: "null",
    bool: lambda value, room: "true" if value else "false",
    str: lambda value, room: _spell_string(value),
    int: lambda value, room: _spell_integer(value),
    float: lambda value, room: spell_float(value),
    dict: _encode_dict,
    list: _encode_list,
    tuple: _encode_list,
    bytes: lambda value, room: '{"$vp":{"bytes":"' + b64encode(value).decode() + '"}}',
    Decimal: lambda value, room: _spell_decimal(value),
}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object from its members, refusing a key that comes twice."""
    members = dict(pairs)
    if len(members) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise NotRepresentable(f"a JSON object with the key {twice!r} twice", "keys of objects are unique")
    return members


def _no_constant(name: str) -> float:
    raise NotRepresentable(f"the literal {name} in a JSON text", "JSON has no such literal")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_real, parse_int=read_integer, parse_constant=_no_constant
)


def _parse(text: str | bytes) -> Any:
    """Parse JSON exactly: integers of any size, Decimal where a double is not enough, no key twice."""
    try:
        return _DECODER.decode(text if isinstance(text, str) else text.decode())
    except UnicodeDecodeError as error:
        where = f"byte {error.start}: {error.reason}"
        raise NotRepresentable("a JSON text that is not UTF-8", where) from None
    except json.JSONDecodeError as error:
        raise NotRepresentable("a text that is not JSON", f"character {error.pos}: {error.msg}") from None
    except RecursionError:
        raise _too_deep() from None


_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


def _fits(text: bytes, max_depth: int) -> bool:
    """Whether a well-formed JSON text nests at most ``max_depth`` deep."""
    if len(text) < 2 * (max_depth + 1) or text.count(b"[") + text.count(b"{") <= max_depth:
        return True
    brackets = _STRING.sub(b"", text).translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(max_depth):
        # Takes away the innermost level everywhere.
        brackets = brackets.replace(b"[]", b"")
    return not brackets


def loads(text: str | bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Decode JSON with tags, as ``dumps`` writes it; the layout may differ, the meaning is strict.

    Args:
        text: JSON text.
        max_depth: how deep arrays and objects may nest.
    Returns:
        dict, list, str, bool, None, int (any size), float, bytes, or Decimal.
    Raises:
        IntegrityError: not JSON, a key twice, a NaN literal, a tag that ``dumps`` does not write, too deep.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if ORJSON_AGREES and _TAG_LIKE not in raw and _fits(raw, max_depth):
        try:
            value = orjson.loads(raw)
            # The same text out as in: no key was merged, no digit rounded.
            if orjson.dumps(value, option=_OPTIONS) == raw:
                return value
        except (ValueError, TypeError):
            pass
    try:
        return _untag(_parse(text), max_depth)
    except NotRepresentable as error:
        raise IntegrityError(error.what, error.why) from None


def is_canonical(text: str | bytes, *, max_depth: int = MAX_DEPTH) -> bool:
    """Whether ``text`` is what ``dumps`` writes for the value that it holds."""
    try:
        raw = text.encode() if isinstance(text, str) else text
        return dumpb(loads(raw, max_depth=max_depth), max_depth=max_depth) == raw
    except (IntegrityError, UnicodeEncodeError):
        return False


def _untag(tree: Any, room: int) -> Any:
    """Replace tags by what they hold, and take the escape off the user's keys."""
    if isinstance(tree, dict):
        if _TAG in tree:
            return _untag_one(tree, room)
        room = _inner(room)
        return {key[1:] if _USER_KEY.fullmatch(key) else key: _untag(tree[key], room) for key in tree}
    if isinstance(tree, list):
        room = _inner(room)
        return [_untag(item, room) for item in tree]
    return tree


def _untag_one(tag: dict[str, Any], room: int) -> Any:
    body = tag[_TAG]
    if len(tag) == 1 and isinstance(body, str) and body in _NOT_FINITE:
        return float(body)
    if len(tag) == 1 and isinstance(body, dict) and len(body) == 1:
        ((kind, held),) = body.items()
        if kind == "object" and isinstance(held, list):
            return _untag_object(held, room)
        if kind in _HOLDERS and isinstance(held, str):
            try:
                value = _HOLDERS[kind](held)
            except (ValueError, ArithmeticError):
                value = None
            # Exactly one text is right for each value.
            if value is not None and _encode(value, 0) == f'{{"$vp":{{"{kind}":{_quote(held)}}}}}':
                return value
    raise _bad_tag()


def _bad_tag() -> NotRepresentable:
    return NotRepresentable("an object with the key $vp", "it is no tag of canonical JSON")


_HOLDERS: Final[dict[str, Callable[[str], Any]]] = {
    "bytes": lambda held: b64decode(held, validate=True),
    "decimal": _real,
    "wtf8": lambda held: b64decode(held, validate=True).decode("utf-8", "surrogatepass"),
}


def _untag_object(held: list[Any], room: int) -> dict[str, Any]:
    """Decode an ``object`` tag: keys strictly rising, at least one with lone surrogates."""
    room = _inner(room)
    members: list[tuple[str, Any]] = []
    for pair in held:
        if not isinstance(pair, list) or len(pair) != 2:
            raise _bad_tag()
        key = _untag_one(pair[0], 0) if isinstance(pair[0], dict) and _TAG in pair[0] else pair[0]
        if not isinstance(key, str):
            raise _bad_tag()
        members.append((key, _untag(pair[1], room)))
    keys = [key for key, _ in members]
    if not any(map(_has_surrogates, keys)) or any(left >= right for left, right in pairwise(keys)):
        raise _bad_tag()
    return dict(members)


_CLASSES: Final = bytes.maketrans(b"123456789E", b"000000000e")
_LONG_NUMBER: Final = re.compile(rb"[ \t\r\n\[:,](-?[0-9](?:[0-9.]{15,}|[0-9.]*[eE])[0-9.eE+-]*)")


def _reads_exactly(text: bytes) -> bool:
    """Whether orjson reads every number of a JSON text exactly."""
    # Up to 15 digits without an exponent always come back from a double.
    digits = text.translate(_CLASSES, b".+-")
    if b"0" * 16 not in digits and b"0e" not in digits:
        return True
    tokens = _LONG_NUMBER.findall(b"\n" + text)
    try:
        if ",".join(map(repr, map(float, tokens))).encode() == b",".join(tokens):
            return True
    except ValueError:
        pass
    return all(map(_is_exact, tokens))


def _is_exact(token: bytes) -> bool:
    try:
        if token.lstrip(b"-").isdigit():
            return len(token) < 19 or -(2**63) <= read_integer(token.decode()) < 2**64
        return isinstance(_real(token.decode()), float)
    except (ValueError, ArithmeticError, NotRepresentable):
        # Digits within a string.
        return False


def _same_content(raw: bytes, out: bytes) -> bool:
    """Whether ``out``, which orjson made of ``raw``, holds all that ``raw`` holds.

    A key that orjson merged takes its colon with it, and colons in strings stay as they are unless written as
    an escape. So equal counts mean that no member was dropped.
    """
    if b"\\" in raw and (b"\\u003a" in raw or b"\\u003A" in raw):
        return False
    return raw.count(b":") == out.count(b":") and _reads_exactly(raw)


def canonicalise_text(text: str | bytes, *, max_depth: int = MAX_DEPTH) -> str:
    """Rewrite any JSON text as canonical JSON. The input has no tags: ``$vp`` in it is a user's key.

    Args:
        text: JSON text of a database or a file.
        max_depth: how deep arrays and objects may nest.
    Returns:
        Canonical text.
    Raises:
        NotRepresentable: not JSON, not UTF-8, a key twice, a NaN literal, a decimal with a huge exponent, or
            nesting beyond ``max_depth``.
    """
    if ORJSON_AGREES:
        try:
            raw = text.encode() if isinstance(text, str) else text
            out = orjson.dumps(orjson.loads(raw), option=_OPTIONS)
        except (ValueError, TypeError):
            pass
        else:
            if _TAG_LIKE not in out and _fits(out, max_depth) and (out == raw or _same_content(raw, out)):
                return out.decode()
    return _slow_dumpb(_parse(text), max_depth).decode()


_ROWS_AT_ONCE: Final = 1024


def canonicalise_column(array: pa.Array[Any], *, max_depth: int = MAX_DEPTH) -> pa.StringArray:
    """Rewrite a column of JSON texts; see ``canonicalise_text``.

    Args:
        array: strings or binaries, null where there is no text.
        max_depth: how deep arrays and objects may nest.
    Returns:
        Strings of the same length, null where the input is.
    Raises:
        NotRepresentable: as ``canonicalise_text``; the message names the row.
    """
    import pyarrow as pa

    texts: list[Any] = []
    for start in range(0, len(array), _ROWS_AT_ONCE):
        rows = array.slice(start, _ROWS_AT_ONCE).cast(pa.large_binary()).to_pylist()
        texts += _canonicalise_rows(rows, max_depth) or [
            None if row is None else _canonicalise_row(start + index, row, max_depth) for index, row in enumerate(rows)
        ]
    return pa.array(texts, pa.string())


def _canonicalise_row(index: int, row: bytes, max_depth: int) -> str:
    try:
        return canonicalise_text(row, max_depth=max_depth)
    except NotRepresentable as error:
        raise NotRepresentable(f"row {index}: {error.what}", error.why) from None


def _canonicalise_rows(rows: list[bytes | None], max_depth: int) -> list[bytes | None] | None:
    """Canonicalise rows with the checks made once for all of them; None if one row needs more than orjson."""
    if not ORJSON_AGREES:
        return None
    try:
        texts = [None if row is None else orjson.dumps(orjson.loads(row), option=_OPTIONS) for row in rows]
    except (ValueError, TypeError):
        return None
    present = [text for text in texts if text is not None]
    raw, out = b"\n".join([row for row in rows if row is not None]), b"\n".join(present)
    if _TAG_LIKE in out or not all(_fits(text, max_depth) for text in present):
        return None
    # No row can gain colons, so the sums are equal only if each row's are.
    return texts if raw == out or _same_content(raw, out) else None


def _orjson_agrees() -> bool:
    """Whether the installed orjson spells a sample as the grammar does; old ones write ``1e16``."""
    numbers = "0.0 -0.0 -12.5 0.1 1e15 1e16 1.5e22 1e-5 1e-6 1.5e-7 5e-324 1.7976931348623157e308 123456.789"
    strings = [*map(chr, range(0x81)), "\u2028", "\uffff", "\U00010000"]
    items = [*map(float, numbers.split()), *strings, 2**64 - 1, -(2**63), None, True]
    sample = {"list": items, "\uffff": 1, "\U00010000": 2, "a": {}}
    return orjson.dumps(sample, option=_OPTIONS) == _slow_dumpb(sample)


ORJSON_AGREES: Final = _orjson_agrees()
