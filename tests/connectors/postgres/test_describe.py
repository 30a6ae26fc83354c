"""What the description of a table of Postgres says: keys, documents, metrics, and what does not travel."""

from __future__ import annotations

import json

import pytest

from vecport.errors import NotRepresentable, UsageError
from vecport.model.collection import Field

from .support import connect, fresh, pages, pump, records, run, source


def test_describe_reads_the_definition_from_the_catalogs() -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (title varchar(20) NOT NULL, id int8 PRIMARY KEY, embedding vector(3), n int4)",
        f"CREATE INDEX ON {table} USING hnsw (embedding vector_cosine_ops) WITH (m = 8, ef_construction = 32)",
        f"INSERT INTO {table} VALUES ('a', 1, '[1,2,3]', NULL)",
    )
    with source(table) as reading:
        found = reading.describe()
    collection = found.collection
    assert (collection.name, collection.id_kind, found.count) == (table, "int", 1)
    assert collection.key == (Field("id", "int8", nullable=False),)
    assert collection.fields == (Field("title", "varchar(20)", nullable=False), Field("n", "int4"))
    (vector,) = collection.vectors
    assert (vector.name, vector.dim, vector.metric, vector.dtype) == ("embedding", 3, "cosine", "float32")
    assert collection.native == {
        "schema": "public",
        "table": table,
        "vectors": {"embedding": {"dim": 3, "nullable": True}},
        "vector_indexes": [
            {
                "name": f"{table}_embedding_idx",
                "vector": "embedding",
                "method": "hnsw",
                "opclass": "vector_cosine_ops",
                "options": ["m=8", "ef_construction=32"],
            }
        ],
        "counted": {},
        "types": {},
    }
    assert found.passport is None
    assert found.version.startswith("PostgreSQL ")
    assert "pgvector 0." in found.version


@pytest.mark.parametrize(
    ("key", "kind", "values", "ids"),
    [
        ("k int2", "int", ["-7"], ["-7"]),
        ("k int8", "int", ["9223372036854775807"], ["9223372036854775807"]),
        ("k uuid", "uuid", ["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"], ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
        ("k text", "string", ["'a\"b'"], ['a"b']),
        ("k varchar(9)", "string", ["'7'"], ["7"]),
        ("k char(3)", "string", ["'a'"], ["a  "]),
        ("k date", "string", ["'0044-03-15 BC'"], ["0044-03-15 BC"]),
        ("k numeric(6,2)", "string", ["1.5"], ["1.50"]),
        ("k bool", "string", ["true"], ["true"]),
        ("k bit(4)", "string", ["B'0110'"], ["0110"]),
        ("k varbit", "string", ["B'01'"], ["01"]),
        ("k name", "string", ["'n'"], ["n"]),
        ("k mood_key", "string", ["'o''k'"], ["o'k"]),
        ("k inet", "string", ["'10.0.0.1'"], ["10.0.0.1/32"]),
        ("k timetz(1)", "string", ["'12:00:00.55+01'"], ["12:00:00.6+01"]),
        ("k oid", "string", ["4294967295"], ["4294967295"]),
    ],
)
def test_ids_of_every_kind_of_key(key: str, kind: str, values: list[str], ids: list[str]) -> None:
    table = fresh()
    if "mood_key" in key:
        run("DROP TYPE IF EXISTS mood_key CASCADE", "CREATE TYPE mood_key AS ENUM ('sad', 'o''k')")
    run(f"CREATE TABLE {table} ({key} PRIMARY KEY, e vector(1))", f"INSERT INTO {table} VALUES ({values[0]}, '[1]')")
    collection, found = pages(table)
    assert collection.id_kind == kind
    assert [row["id"] for row in records(found)] == ids
    assert records(found)[0]["metadata"] == "{}"
    copy = pump(table)
    assert run(f"SELECT k::text, e FROM {copy}") == run(f"SELECT k::text, e FROM {table}")
    with source(table) as reading:
        reading.snapshot()
        assert reading.fetch([("", ids[0])]).num_rows == 1
        # What the column cannot hold is not in it, and not another record cut short.
        assert reading.fetch([("", ids[0] + "1" * 70), ("", "no such")]).num_rows == 0
        assert reading.fetch([("", "no such"), ("", ids[0])]).num_rows == 1


def test_a_composite_key_is_a_json_array_in_the_order_of_the_key() -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (e vector(1), at timestamptz, b uuid, a int4, t text, flag bool, n int4,"
        " PRIMARY KEY (t, a, b, at, flag))",
        f"""INSERT INTO {table} SELECT '[1]', '2024-01-01 00:00:00+00', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', i,
        e'q" \\\\ \\n\u00e9', i = 1, 7 FROM generate_series(1, 3) i""",
    )
    collection, found = pages(table)
    assert collection.id_kind == "composite"
    assert [field.name for field in collection.key] == ["t", "a", "b", "at", "flag"]
    ids = [row["id"] for row in records(found)]
    assert json.loads(ids[0]) == [
        'q" \\ \n\u00e9', 1, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "2024-01-01 00:00:00+00", True,
    ]  # fmt: skip
    assert ids[0].startswith('["q\\" \\\\ \\n')
    copy = pump(table)
    columns = "t, a, b, at, flag, n, e"
    assert run(f"SELECT {columns} FROM {copy} ORDER BY a") == run(f"SELECT {columns} FROM {table} ORDER BY a")
    with source(table) as reading:
        reading.snapshot()
        got = reading.fetch([("", ids[1])])
        assert got.column("id").to_pylist() == [ids[1]]
        assert reading.fetch([("", "[1]"), ("", "x"), ("", "{}")]).num_rows == 0


def test_a_table_without_a_key_needs_a_named_column() -> None:
    table = fresh()
    run(f"CREATE TABLE {table} (a int4, b text, e vector(1))")
    run(f"INSERT INTO {table} VALUES (1, 'x', NULL), (1, 'y', '[1]')")
    with source(table) as reading, pytest.raises(NotRepresentable, match="--source-option id-column=") as caught:
        reading.describe()
    assert "no primary key" in str(caught.value)
    collection, found = pages(table, id_column="a,b")
    assert collection.id_kind == "composite"
    assert [row["id"] for row in records(found)] == ['[1,"x"]', '[1,"y"]']
    # Repeated ids are data; whoever writes them decides.
    assert [row["id"] for row in records(pages(table, id_column="a")[1])] == ["1", "1"]
    run(f"INSERT INTO {table} VALUES (NULL, 'z', NULL)")
    with pytest.raises(NotRepresentable, match="id column 'a' holds NULL in 1 of 3 records"):
        pages(table, id_column="a")
    for wrong in ("nothing", "a,a", "a,"):
        with source(table, id_column=wrong) as reading:
            if wrong == "a,":
                assert reading.describe().collection.id_kind == "int"
                continue
            with pytest.raises(UsageError):
                reading.describe()


def test_a_document_column_is_the_document_and_no_field() -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (id int4 PRIMARY KEY, body text, n int4, e vector(1))",
        f"INSERT INTO {table} VALUES (1, 'words', 1, '[1]'), (2, NULL, 2, '[1]'), (3, '', 3, '[1]')",
    )
    collection, found = pages(table, document_column="body")
    assert [field.name for field in collection.fields or ()] == ["n"]
    assert [row["document"] for row in records(found)] == ["words", None, ""]
    run(f"ALTER TABLE {table} ALTER COLUMN body TYPE varchar(9)")
    with source(table, document_column="body") as reading:
        assert any("'body' is restored as text" in note for note in reading.describe().notes)
    for wrong in ("n", "nothing", "id"):
        with source(table, document_column=wrong) as reading, pytest.raises(UsageError):
            reading.describe()


@pytest.mark.parametrize(
    ("indexes", "metric"),
    [
        (["hnsw (e vector_cosine_ops)"], "cosine"),
        (["hnsw (e vector_ip_ops)"], "dot"),
        (["hnsw (e vector_l2_ops)"], "l2"),
        (["hnsw (e vector_l1_ops)"], "l1"),
        (["ivfflat (e vector_cosine_ops) WITH (lists = 1)"], "cosine"),
        (["hnsw ((e::halfvec(3)) halfvec_ip_ops)"], "dot"),
        (["hnsw ((e::halfvec(2)) halfvec_ip_ops)"], "unknown"),
        (["hnsw (e vector_cosine_ops)", "ivfflat (e vector_cosine_ops)"], "cosine"),
        (["hnsw (e vector_cosine_ops)", "hnsw (e vector_l2_ops)"], "unknown"),
        (["hnsw ((binary_quantize(e)::bit(3)) bit_hamming_ops)"], "unknown"),
        (["hnsw ((subvector(e, 1, 2)::vector(2)) vector_l2_ops)"], "unknown"),
        (["btree (n)"], "unknown"),
        ([], "unknown"),
    ],
)
def test_the_metric_is_that_of_the_index_and_never_guessed(indexes: list[str], metric: str) -> None:
    table = fresh()
    run(f"CREATE TABLE {table} (id int PRIMARY KEY, n int, e vector(3))")
    for index in indexes:
        run(f"CREATE INDEX ON {table} USING {index}")
    with source(table) as reading:
        found = reading.describe()
    assert found.collection.vectors[0].metric == metric
    if len(indexes) == 2 and metric == "unknown":
        assert any("indexes with different metrics" in note for note in found.notes)


def test_a_vector_column_without_a_dimension_takes_that_of_its_vectors() -> None:
    table = fresh()
    run(f"CREATE TABLE {table} (id int PRIMARY KEY, e vector)")
    with source(table) as reading, pytest.raises(NotRepresentable, match="holds none yet"):
        reading.describe()
    run(f"INSERT INTO {table} VALUES (1, '[1,2]'), (2, NULL), (3, '[3,4]')")
    collection, found = pages(table)
    assert collection.vectors[0].dim == 2
    assert [row["vector_e"] for row in records(found)] == [[1, 2], None, [3, 4]]
    with source(table) as reading:
        reading.describe()
        run(f"INSERT INTO {table} VALUES (4, '[1,2,3]')")
        with pytest.raises(NotRepresentable, match="2 to 3 dimensions"):
            reading.snapshot()


def test_what_does_not_travel_is_said() -> None:
    table, other = fresh(), fresh()
    with connect() as connection:
        virtual = "VIRTUAL" if connection.info.server_version >= 180_000 else "STORED"
    run(
        f"CREATE TABLE {other} (id int PRIMARY KEY)",
        f"CREATE TABLE {table} (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int DEFAULT 7,"
        f' b int GENERATED ALWAYS AS (a * 2) STORED, c text COLLATE "C" UNIQUE, d int REFERENCES {other}, j json,'
        f" v int GENERATED ALWAYS AS (a + 1) {virtual}, e vector(1), CONSTRAINT positive CHECK (a > 0))",
        f"CREATE INDEX my_index ON {table} (a)",
        f"COMMENT ON TABLE {table} IS 'mine'",
        f"INSERT INTO {table} (c, j) VALUES ('x', '1')",
    )
    with source(table) as reading:
        notes = "\n".join(reading.describe().notes)
    for words in ("generated columns travel as plain values, without their expression: b, v",
                  "default values of columns do not travel: a", "collations of columns do not travel: c", "my_index",
                  "check positive", "foreign key", "unique constraint", "table's comment", "white space and key order",
                  ):  # fmt: skip
        assert words in notes
    _, found = pages(table)
    assert json.loads(records(found)[0]["metadata"]) == {"a": 7, "b": 14, "c": "x", "d": None, "j": 1, "v": 8}
    copy = pump(table)
    assert run(f"SELECT id, a, b, c, d, v FROM {copy}") == [(1, 7, 14, "x", None, 8)]


def test_inheritance_is_refused_by_name() -> None:
    old, child = fresh(), fresh()
    run(f"CREATE TABLE {old} (id int PRIMARY KEY, e vector(1))", f"CREATE TABLE {child} () INHERITS ({old})")
    with source(old) as reading, pytest.raises(NotRepresentable, match=child):
        reading.describe()
