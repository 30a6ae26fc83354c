"""A table with a column of every type that the Postgres connector carries, and hard values of each."""

from __future__ import annotations

from .support import connect, fresh, run

_ALL_BYTES = "\\x" + bytes(range(256)).hex()
_TEXTS = [
    "", " ", " both ends ", "quote ' \" ", "back\\slash", "tab\tnew\nline\r", "\x01\x1f\x7f", "\u00e9 e\u0301",
    "\U0001f469\u200d\U0001f680", "\ufeff\u2028", "null", "NULL", "{a,b}", "[1]", "$vp", "%s $1", "x" * 100_000,
]  # fmt: skip

#: Values of every supported type as Postgres reads them; a NULL is added to each.
HARD: dict[str, list[str]] = {
    "bool": ["true", "false"],
    "int2": ["0", "-1", "32767", "-32768"],
    "int4": ["0", "2147483647", "-2147483648"],
    "int8": ["0", "9007199254740993", "9223372036854775807", "-9223372036854775808"],
    "float4": ["0", "-0", "0.1", "1", "16777217", "3.4028235e38", "1.4e-45", "NaN", "Infinity", "-Infinity"],
    "float8": ["0", "-0", "0.1", "1", "1e16", "1e22", "123456789012345680", "0.30000000000000004", "1e-7", "5e-324",
               "1.7976931348623157e308", "NaN", "Infinity", "-Infinity"],
    "text": _TEXTS,
    "varchar": _TEXTS,
    "varchar(5)": ["", "abcde", "ab   ", "\u00e9\u00e9\u00e9\u00e9\u00e9"],
    "char(5)": ["", "ab", "abcde", "\u00e9", "  b"],
    "bpchar": ["", "ab ", "x"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "FFFFFFFF-0000-1000-8000-0123456789AB"],
    "bytea": ["\\x", "\\x00", _ALL_BYTES],
    "numeric": ["0", "0.00", "-0.5", "-0.05", "1.500", "10000", "100010001", "0.00010000", "-12345.6789", "1e100",
                "1e-30", "99999999999999999", "0.12345678901234567", "12345678901234567890.12345678901234567890",
                "NaN", "Infinity", "-Infinity"],
    "numeric(10,2)": ["0", "12.3", "-0.01", "-99999999.99", "99999999.99", "NaN"],
    "numeric(5,0)": ["0", "-1", "99999", "10000"],
    "numeric(3,-2)": ["12300", "-99900", "0"],
    "numeric(2,4)": ["0.0012", "-0.0099", "0"],
    "numeric(30,20)": ["1.00000000000000000001"],
    "date": ["2000-01-01", "1999-12-31", "2024-02-29", "0001-01-01", "0001-12-31 BC", "4714-11-24 BC", "9999-12-31",
             "10000-01-01", "5874897-12-31", "infinity", "-infinity"],
    "timestamp": ["2000-01-01", "2024-02-29 12:34:56.789", "1999-12-31 23:59:59.999999", "0001-01-01",
                  "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999", "infinity", "-infinity"],
    "timestamp(0)": ["2024-02-29 12:34:56.789"],
    "timestamp(3)": ["2024-02-29 12:34:56.7891", "2024-02-29 12:34:56.1"],
    "timestamptz": ["2000-01-01 00:00:00+05:30", "2024-06-01 12:00:00.5 Europe/Berlin", "0044-03-15 12:00:00+00 BC",
                    "294276-12-31 23:59:59.999999+00", "1900-01-01 00:00:00 Europe/Amsterdam", "infinity",
                    "-infinity"],
    "timestamptz(2)": ["2024-02-29 12:34:56.789+02"],
    "json": ['{"b": 1, "a": [1.0, 1.50, "x"]}', "null", '"text"', "[]", "{}", "1", "12345678901234567890123", "-0.0",
             "1e5", "1e400", "0.1000000000000000055511151231257827", '{"$vp": "NaN", "$$vp": 1}', '"\\u0000"'],
    "jsonb": ['{"b": 1, "a": [1.0, 1.50, "x"]}', "null", '"text"', "[]", "{}", "1", "12345678901234567890123", "1e16",
              "1.5e300", "1e400", "1e-7", "0.1000000000000000055511151231257827", '{"$vp": "NaN", "$$vp": 1}',
              '{"": {"a.b": [null, true, {"c": []}]}}', '"e+16 -0.0, \\\\u0000"'],
    "text[]": ["{}", '{a,NULL,"b c","","null","NULL","{x}","q\\"","\\\\"}', "{NULL}", "{{a,b},{c,NULL}}", "[0:1]={a,b}",
               "[2:2]={x}", '{{{"deep, \\""}}}'],
    "varchar(3)[]": ["{abc,\u00e9\u00e9\u00e9,NULL}", "{{a},{b}}"],
    "varchar[]": ["{a}"],
    "int2[]": ["{}", "{1,-32768,NULL}", "{{1},{2}}"],
    "int4[]": ["{2147483647}", "{NULL,NULL}", "[-5:-4]={1,2}"],
    "int8[]": ["{9223372036854775807,-9223372036854775808,9007199254740993}"],
    "float4[]": ["{0.1,NaN,Infinity,-0,1.4e-45,NULL}", "{{0.1,NaN}}"],
    "float8[]": ["{0.1,NaN,-Infinity,-0,5e-324,1e16,NULL}", "{}", "[3:4]={NaN,1e16}"],
    "time": ["00:00:00", "24:00:00", "12:34:56.789012"],
    "time(2)": ["12:34:56.789"],
    "timetz": ["00:00:00+00", "12:34:56.7-15:59", "24:00:00+05:30"],
    "timetz(0)": ["12:34:56.7+01"],
    "interval": ["0", "1 day", "24:00:00", "-1 mon 3 days -04:05:06.789", "178000000 years", "infinity",
                 "1 year 2 mons"],
    "interval(3)": ["1.23456 s"],
    "interval year to month": ["3 years 2 mons"],
    "interval day to second(2)": ["5 days 01:02:03.456"],
    "interval hour": ["1 day 05:00:00"],
    "bit(1)": ["0", "1"],
    "bit(11)": ["01010101011"],
    "varbit": ["", "1", "0101010101010101010"],
    "varbit(5)": ["", "10101"],
    "inet": ["192.168.1.1", "192.168.1.1/24", "::1", "2001:db8::ff/64"],
    "cidr": ["192.168.1.0/24", "::/0"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "money": ["0", "-1234567.89", "92233720368547758.07"],
    "oid": ["0", "4294967295"],
    "name": ["", "a'b\"c", "x" * 63],
    '"char"': ["a", "'", "\\377"],
    "pg_lsn": ["0/0", "FFFFFFFF/FFFFFFFF"],
    "xid8": ["18446744073709551615"],
    "pg_snapshot": ["10:20:10,14,15"],
    "tsvector": ["", "'a':1A 'cat':2,3B 'it''s' 'x y'"],
    "tsquery": ["'a' & !'b' | 'c':*A"],
    "jsonpath": ['$."a"[*]?(@ > 1)'],
    "point": ["(0.1,-0)", "(Infinity,NaN)"],
    "line": ["{1,-1,0.5}"],
    "lseg": ["[(0,0),(1,0.1)]"],
    "box": ["(1,1),(0,0)"],
    "path": ["((0,0),(1,1))", "[(0,0),(1,1)]"],
    "polygon": ["((0,0),(1,1),(2,0))"],
    "circle": ["<(0.1,0),5>"],
    "int4range": ["empty", "(,)", "[1,5)"],
    "int8range": ["[9223372036854775800,)"],
    "numrange": ["(0.10,1.500]"],
    "daterange": ["[2024-01-01,infinity)"],
    "tsrange": ['["2024-01-01 00:00:00.5",infinity]'],
    "tstzrange": ['["0044-03-15 00:00:00+00 BC",]'],
    "int4multirange": ["{}", "{[1,2),[5,9)}"],
    "tstzmultirange": ['{["2024-01-01 00:00:00+00","2024-02-01 00:00:00+00")}'],
    "uuid[]": ["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}"],
    "bytea[]": ['{"\\\\x00ff",NULL}'],
    "jsonb[]": ['{"{\\"a\\": 1.50}",NULL,"null"}'],
    "numeric[]": ["{1.50,NaN,NULL}", "[2:3]={0.00,1e30}"],
    "numeric(5,2)[]": ["{{1.5},{2}}"],
    "date[]": ["{infinity,0044-03-15 BC}"],
    "timestamptz(1)[]": ['{"2024-01-01 00:00:00.55+00"}'],
    "bool[]": ["{t,f,NULL}"],
    "char(3)[]": ['{"a  ",abc}'],
    "interval[]": ['{"1 day",NULL}'],
    "int4range[]": ['{"[1,3)",empty}'],
}  # fmt: skip


def make_hard_table() -> tuple[str, list[str]]:
    """One table with a column of every type; row n holds the n-th hard value of each, NULL beyond the last."""
    table, types = fresh("hard"), list(HARD)
    columns = ", ".join(f"c{i} {kind}" for i, kind in enumerate(types))
    run(f"CREATE TABLE {table} (id int4 PRIMARY KEY, {columns}, e vector(3))")
    rows = max(map(len, HARD.values())) + 1
    with connect() as connection:
        for n in range(rows):
            row = [HARD[kind][n] if n < len(HARD[kind]) else None for kind in types]
            marks = ", ".join(f"%s::text::{kind}" for kind in types)
            connection.execute(
                f"INSERT INTO {table} VALUES (%s, {marks}, %s::vector)".encode(),
                [n, *row, None if n % 3 == 2 else f"[{n},0.1,-1e-7]"],
            )
    return table, types
