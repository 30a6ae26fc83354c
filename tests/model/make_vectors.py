"""Write spec/vectors/canonical_json.json: ``python tests/model/make_vectors.py``.

The expected texts are written by hand, so that they test the code and not the other way round; only the spellings of
the doubles are computed, and test_canonical.py holds those against other spellers.
"""

from __future__ import annotations

import json
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

from vecport.model.canonical import MAX_DEPTH, spell_float

VECTORS = Path(__file__).parents[2] / "spec" / "vectors" / "canonical_json.json"

ABOUT = (
    "Test vectors of canonical JSON. floats: the bits of an IEEE 754 double, most significant first, and its spelling. "
    "texts: any JSON text, in which $vp is a user's key, and its canonical form. tags: a canonical text and what it "
    "holds. refused_texts: texts that have no canonical form. refused_canonical: texts that no reader of canonical "
    "JSON may accept."
)

FLOATS = """
    0.0 -0.0 1.0 -1.0 0.1 0.2 0.3 1e-4 1e-5 -1e-5 9.999999999999999e-6 1e-6 1.5e-7 1e-7 123456.789 1e15
    999999999999999.9 9007199254740991 9007199254740992 9007199254740994 9999999999999998 1e16 1.2345678901234567e16
    -1.5e17 9223372036854775808 18446744073709551616 1e21 1e22 1e23 1e100 1.7976931348623157e308 5e-324 1e-323
    2.225073858507201e-308 2.2250738585072014e-308 4.35 0.000012345678901234567 1e-300 0.30000000000000004
    0.10000000149011612 3.4028234663852886e38 2.5e-3 100 1234567890123456
"""

TEXTS = [
    ("white space", ' { "a" : [ 1 , 2 ] ,\n"b"\t:\r{ } } ', '{"a":[1,2],"b":{}}'),
    ("scalars", "[null,true,false]", "[null,true,false]"),
    ("keys sorted by code point", r'{"b":1,"a":2,"B":3,"":4,"é":5,"aa":6}', '{"":4,"B":3,"a":2,"aa":6,"b":1,"é":5}'),
    ("not by UTF-16 unit", '{"\U00010000":1,"\uffff":2}', '{"\uffff":2,"\U00010000":1}'),
    ("escapes in keys", r'{"\u0062":1,"a\n":2,"a":3,"a ":4}', r'{"a":3,"a\n":2,"a ":4,"b":1}'),
    ("escapes kept", r'"\"\\\b\t\n\f\r\u0000\u000B\u001f"', r'"\"\\\b\t\n\f\r\u0000\u000b\u001f"'),
    ("escapes taken off", r'"\/\u0041\u00e9\u007f\u2028\ud83d\ude00"', '"/A\u00e9\u007f\u2028\U0001f600"'),
    ("no normalisation", '["\u00e9","e\u0301"]', '["\u00e9","e\u0301"]'),
    ("integers", "[0,-0,-1,9007199254740993]", "[0,0,-1,9007199254740993]"),
    (
        "integers beyond 64 bits",
        "[18446744073709551615,18446744073709551616,-9223372036854775809]",
        "[18446744073709551615,18446744073709551616,-9223372036854775809]",
    ),
    ("an integer of 60 digits", "1" + "0" * 58 + "1", "1" + "0" * 58 + "1"),
    ("floats", "[1.0,1.50,-0.0,0e5,-0E-9,1E2,100e-2,1e16]", "[1.0,1.5,-0.0,0.0,-0.0,100.0,1.0,1e+16]"),
    ("small floats", "[0.00001,0.000001,1e-05,1.5E-007]", "[0.00001,1e-6,0.00001,1.5e-7]"),
    ("shortest digits of a double", "[0.30000000000000004,5e-324]", "[0.30000000000000004,5e-324]"),
    (
        "a decimal between doubles",
        "0.1000000000000000055511151231257827",
        '{"$vp":{"decimal":"0.1000000000000000055511151231257827"}}',
    ),
    ("another 17 digits of 0.3", "0.30000000000000001", '{"$vp":{"decimal":"0.30000000000000001"}}'),
    ("16 digits for a double of 15", "9.399464825742889", '{"$vp":{"decimal":"9.399464825742889"}}'),
    ("not the shortest digits", "4e-324", '{"$vp":{"decimal":"4e-324"}}'),
    ("2^53 + 1 with a point", "9007199254740993.0", '{"$vp":{"decimal":"9007199254740993.0"}}'),
    ("a decimal beyond doubles", "[1e400,-1E+400]", '[{"$vp":{"decimal":"1e+400"}},{"$vp":{"decimal":"-1e+400"}}]'),
    ("a decimal below doubles", "12.50e-400", '{"$vp":{"decimal":"1.25e-399"}}'),
    ("a whole decimal", "12345678901234567890123e0", '{"$vp":{"decimal":"1.2345678901234567890123e+22"}}'),
    ("digits in strings", '{"1e400":"0.1000000000000000055511151231257827"}', None),
    ("a user's $vp", '{"$vp":"NaN"}', '{"$$vp":"NaN"}'),
    ("a user's $$vp", '{"$$vp":1,"$vp":2,"$v":3,"$vpx":4,"vp":5}', '{"$$$vp":1,"$$vp":2,"$v":3,"$vpx":4,"vp":5}'),
    ("$vp in a string", '["$vp","\\"$vp\\":"]', None),
    ("a lone surrogate", r'["\ud800","a\udfffb"]', '[{"$vp":{"wtf8":"7aCA"}},{"$vp":{"wtf8":"Ye2/v2I="}}]'),
    (
        "a lone surrogate in a key",
        r'{"\udc00":1,"\ue000":2,"$vp":3,"\ud7ff":{"b":1,"a":2}}',
        '{"$vp":{"object":[["$vp",3],["\ud7ff",{"a":2,"b":1}],[{"$vp":{"wtf8":"7bCA"}},1],["\ue000",2]]}}',
    ),
    ("as deep as may be", "[" * MAX_DEPTH + "]" * MAX_DEPTH, None),
    ("brackets in strings", json.dumps(["[{" * 200]), '["' + "[{" * 200 + '"]'),
]

TAGS: list[tuple[str, str, dict[str, Any]]] = [
    ("NaN", '{"$vp":"NaN"}', {"kind": "float", "value": "nan"}),
    ("infinity", '{"$vp":"Infinity"}', {"kind": "float", "value": "inf"}),
    ("minus infinity", '{"$vp":"-Infinity"}', {"kind": "float", "value": "-inf"}),
    ("no bytes", '{"$vp":{"bytes":""}}', {"kind": "bytes", "hex": ""}),
    ("bytes", '{"$vp":{"bytes":"AP/+"}}', {"kind": "bytes", "hex": "00fffe"}),
    ("bytes with padding", '{"$vp":{"bytes":"/w=="}}', {"kind": "bytes", "hex": "ff"}),
    ("a decimal", '{"$vp":{"decimal":"1e+400"}}', {"kind": "decimal", "value": "1e+400"}),
    ("a string", '{"$vp":{"wtf8":"7aCA"}}', {"kind": "string", "code_points": [0xD800]}),
    ("a pair kept apart", '{"$vp":{"wtf8":"7aG97bqA"}}', {"kind": "string", "code_points": [0xD87D, 0xDE80]}),
    (
        "an object",
        '{"$vp":{"object":[["$vp",1.0],[{"$vp":{"wtf8":"7bCA"}},{"$$vp":null}]]}}',
        {
            "kind": "object",
            "entries": [
                [{"kind": "string", "code_points": [0x24, 0x76, 0x70]}, {"kind": "float", "value": "1.0"}],
                [
                    {"kind": "string", "code_points": [0xDC00]},
                    {
                        "kind": "object",
                        "entries": [[{"kind": "string", "code_points": [0x24, 0x76, 0x70]}, {"kind": "null"}]],
                    },
                ],
            ],
        },
    ),
]

NOT_JSON = [
    ("nothing", ""),
    ("two values", "1 2"),
    ("a trailing comma", "[1,]"),
    ("an open array", "[1"),
    ("single quotes", "{'a':1}"),
    ("a key without quotes", "{a:1}"),
    ("a number as key", "{1:1}"),
    ("a leading zero", "01"),
    ("a leading plus", "+1"),
    ("a leading point", ".5"),
    ("a trailing point", "1."),
    ("an empty exponent", "1e"),
    ("a hexadecimal number", "0x10"),
    ("a control character in a string", '"a\nb"'),
    ("an unknown escape", r'"\x41"'),
    ("a short escape", r'"\u12"'),
    ("NaN", "NaN"),
    ("Infinity", "[Infinity]"),
    ("-Infinity", "-Infinity"),
    ("a comment", "1 // one"),
    ("a byte order mark", "\ufeff1"),
    ("other white space", "\u00a01"),
    ("a key twice", '{"a":1,"b":2,"a":1}'),
    ("a key twice, escaped once", r'{"a":1,"\u0061":2}'),
    ("a key twice, deep within", '[{"x":{"a":1,"a":2}}]'),
    ("a key twice, beside quotes and colons", r'{"a":"\u0022:","a":"\u0022:"}'),
    ("a key twice, beside an escaped colon", r'{"a":1,"a":"\u003a\u003A"}'),
    ("too deep", "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)),
    ("too deep, objects", '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1)),
    ("far too deep", "[" * 2000),
    ("an exponent of 20 digits", "1e99999999999999999999"),
]

BAD_TAGS = [
    ("an unknown tag", '{"$vp":"nan"}'),
    ("an unknown kind", '{"$vp":{"date":"2024-01-01"}}'),
    ("no kind", '{"$vp":{}}'),
    ("a number", '{"$vp":1}'),
    ("null", '{"$vp":null}'),
    ("another tag and a second key", '{"$vp":{"bytes":""},"a":1}'),
    ("two kinds", '{"$vp":{"bytes":"","wtf8":""}}'),
    ("a second key", '{"$vp":"NaN","a":1}'),
    ("bytes that are no base64", '{"$vp":{"bytes":"a"}}'),
    ("bytes with white space", '{"$vp":{"bytes":"AP/ +"}}'),
    ("bytes without padding", '{"$vp":{"bytes":"/w"}}'),
    ("bytes with stray bits", '{"$vp":{"bytes":"/x=="}}'),
    ("URL-safe base64", '{"$vp":{"bytes":"AP_-"}}'),
    ("bytes in a list", '{"$vp":{"bytes":[1]}}'),
    ("a decimal that is a float", '{"$vp":{"decimal":"0.1"}}'),
    ("a decimal that is an integer", '{"$vp":{"decimal":"123456789012345678901234567890"}}'),
    ("a decimal with trailing zeros", '{"$vp":{"decimal":"0.10000000000000000555111512312578270"}}'),
    ("a decimal in another spelling", '{"$vp":{"decimal":"1E+400"}}'),
    ("a decimal with underscores", '{"$vp":{"decimal":"1_0e+400"}}'),
    ("a decimal that is no number", '{"$vp":{"decimal":"NaN"}}'),
    ("a decimal as a number", '{"$vp":{"decimal":1e400}}'),
    ("a string without surrogates", '{"$vp":{"wtf8":"YQ=="}}'),
    ("a string that is no WTF-8", '{"$vp":{"wtf8":"/w=="}}'),
    ("an object without surrogates", '{"$vp":{"object":[["a",1]]}}'),
    ("an empty object", '{"$vp":{"object":[]}}'),
    ("an object out of order", '{"$vp":{"object":[[{"$vp":{"wtf8":"7bCA"}},1],["a",1]]}}'),
    ("an object with a key twice", '{"$vp":{"object":[[{"$vp":{"wtf8":"7bCA"}},1],[{"$vp":{"wtf8":"7bCA"}},1]]}}'),
    ("an object with a lone key", '{"$vp":{"object":[[{"$vp":{"wtf8":"7bCA"}}]]}}'),
    ("an object with bytes as key", '{"$vp":{"object":[[{"$vp":{"bytes":"AA=="}},1]]}}'),
    ("an object with an object as key", '{"$vp":{"object":[[{"a":1},1]]}}'),
    ("an object with a number as key", '{"$vp":{"object":[[1,1]]}}'),
    ("an object of objects", '{"$vp":{"object":{"a":1}}}'),
    ("a tag within a tag", '{"$vp":{"$vp":"NaN"}}'),
]


def describe(value: Any) -> dict[str, Any]:
    """A decoded value in words that any language can compare."""
    if value is None:
        return {"kind": "null"}
    if isinstance(value, float):
        return {"kind": "float", "value": repr(value)}
    if isinstance(value, bytes):
        return {"kind": "bytes", "hex": value.hex()}
    if isinstance(value, Decimal):
        return {"kind": "decimal", "value": str(value).lower()}
    if isinstance(value, str):
        return {"kind": "string", "code_points": [ord(char) for char in value]}
    return {"kind": "object", "entries": [[describe(key), describe(item)] for key, item in value.items()]}


def build() -> dict[str, Any]:
    """The content of the file."""
    doubles = [float(text) for text in FLOATS.split()]
    return {
        "about": ABOUT,
        "floats": [{"bits": struct.pack(">d", x).hex(), "text": spell_float(x)} for x in doubles],
        "texts": [{"name": n, "json": t, "canonical": t if c is None else c} for n, t, c in TEXTS],
        "tags": [{"name": n, "canonical": t, "holds": held} for n, t, held in TAGS],
        "refused_texts": [{"name": n, "json": t} for n, t in NOT_JSON],
        "refused_canonical": [{"name": n, "text": t} for n, t in NOT_JSON + BAD_TAGS],
    }


def spell() -> str:
    """The text of the file."""
    return json.dumps(build(), indent=1) + "\n"


if __name__ == "__main__":
    VECTORS.parent.mkdir(parents=True, exist_ok=True)
    VECTORS.write_text(spell(), encoding="utf-8")
