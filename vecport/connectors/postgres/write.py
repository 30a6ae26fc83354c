"""Writing a table: created with its key, filled by COPY in transactions that acknowledge themselves, indexed last."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from ...errors import IntegrityError, NotFound, NotRepresentable, UsageError, VecportError
from ...model import canonical
from ...model.capabilities import VALUE_KINDS, MetadataRules, TargetCapabilities
from ...model.collection import Collection
from ..address import Place
from ..checks import check_batch, check_default, check_plan, sole_ids
from ..contract import Description, Hit, Json, Mark, Permission, Target, TargetPlan
from . import acknowledge, blame, indexes, permissions, sql, tables, watch
from .arrow import Batch, pc
from .catalog import Extension, Table, find_table, read_extension
from .client import READ, WRITE, begin, connect, run
from .columns import INT_MAX, INT_MIN, columns_in, new_columns
from .failures import translated
from .keys import key_condition, key_rows
from .layout import Layout, Slot, parse_comment
from .loader import ROWS_AT_ONCE, Caster, Loader
from .owntypes import TypeMaker
from .pages import expressions
from .schema import Found, look, table_name, version
from .types import PATTERN
from .vectors import OPERATORS, VECTOR_TYPES

if TYPE_CHECKING:
    from .client import Connection

#: A key in a btree index has at most 2,704 bytes, of which some are the entry's own.
ID_MAX_BYTES: Final = 2_600
#: A table has at most 1,600 columns; the others are key, document and metadata.
MAX_VECTORS: Final = 1_500
_INEXACT: Final = frozenset({"number_negative_zero", "nonfinite", "bytes", "surrogates", "string_nul"})
_MAX_EF_SEARCH: Final = 1_000


class PostgresTarget(Target):
    """A writing session on one connection, and a second one where values must be cast by the server.

    A lost connection is opened again by the next call; what a row group's transaction did is decided by the
    acknowledgement that it wrote.
    """

    capabilities = TargetCapabilities(
        id_kinds=frozenset({"int", "uuid", "string", "composite"}),
        id_text=True,
        id_int_min=INT_MIN,
        id_int_max=INT_MAX,
        id_max_bytes=ID_MAX_BYTES,
        id_forbidden="\0",
        vectors=MAX_VECTORS,
        unnamed_vector=False,
        vector_name="embedding",
        kinds={
            "dense": frozenset({"float32", "float16"}),
            "binary": frozenset({"bit"}),
            "sparse": frozenset({"float32"}),
        },
        metrics=VECTOR_TYPES["vector"].metrics,
        kind_metrics={"binary": VECTOR_TYPES["bit"].metrics, "sparse": VECTOR_TYPES["sparsevec"].metrics},
        metric_required=False,
        max_dim=VECTOR_TYPES["vector"].max_dim,
        kind_max_dim={"binary": VECTOR_TYPES["bit"].max_dim},
        null_vectors=True,
        nonfinite_vectors=False,
        native_document=True,
        typed_fields=PATTERN,
        metadata=MetadataRules(
            exact=frozenset(VALUE_KINDS) - _INEXACT, forbidden_keys=r"(?s).*\x00.*", forbidden_mark="\\u0000"
        ),
        passport=True,
        ack="transactional",
        on_conflict=frozenset({"replace", "skip", "fail"}),
        # Encoding and sending release the interpreter, so a second process would only add its start.
        concurrency="threads",
        write_rows=ROWS_AT_ONCE,
    )

    def __init__(self, place: Place, collection: str) -> None:
        self._place = place
        self._name = collection
        self._connection: Connection | None = None
        self._caster = Caster(place)
        self._plan: TargetPlan | None = None
        self._layout: Layout | None = None
        self._table: Table | None = None
        self._extension: Extension | None = None
        self._finished = False
        #: Somebody else writes into the new table, so that keys of the dump may be there already.
        self._shared = False

    # -- what a caller sees --------------------------------------------------------------------

    def describe(self) -> Description | None:
        """See ``Target.describe``. A table that cannot be read in full is described by its notes alone."""
        with self._failures(), self._transaction(READ) as connection:
            table = find_table(connection, *table_name(self._place, self._name))
            if table is None:
                return None
            try:
                found = look(connection, self._place, self._name)
            except NotRepresentable as error:
                shown = version(connection, read_extension(connection))
                return Description(Collection(self._name), None, version=shown, notes=(str(error),))
            count = tables.scalar(connection, f"SELECT count(*) FROM {table.rows}")
            passport = found.comment.passport if found.comment and found.comment.passport else None
            return Description(found.collection, count, passport, found.version, found.notes)

    def permissions(self, plan: TargetPlan) -> tuple[Permission, ...]:
        """See ``Target.permissions``; asked of the catalogs."""
        with self._failures(), self._transaction(READ) as connection:
            return permissions.to_write(connection, self._place, self._name, plan)

    def prepare(self, plan: TargetPlan) -> None:
        """See ``Target.prepare``. All of it is one transaction.

        Raises:
            UsageError: an unknown setting, an index that cannot be built, a schema that does not exist.
            AlreadyExists: the table has records, and the plan says ``create`` without ``resume``.
            NotRepresentable: an existing table has other columns or another metric; a name or a type that Postgres
                cannot hold.
            NotFound: the server has no pgvector.
            AuthenticationFailed: the role may not create what is needed.
        """
        check_plan(plan, self.capabilities, "PostgreSQL")
        layout = new_columns(plan, self._place)
        indexes.plan_indexes(plan, layout)
        schema, name = table_name(self._place, self._name)
        sql.check_name(name)
        with self._failures(), self._transaction(WRITE) as connection:
            extension = tables.ensure_extension(connection) if plan.collection.vectors else None
            table = find_table(connection, schema, name)
            kept = table is not None and plan.if_exists == "append"
            if table is not None and not kept:
                kept = tables.decided(connection, table, layout, plan, self._place) == "keep"
                if not kept:
                    tables.drop(connection, table)
                    schema, table = table.schema, None
            home = table.schema if table is not None else tables.home_of(connection, schema)
            # Types go with a table that is created: where the one that is there stays, all of this is undone.
            create = table is None or plan.if_exists == "create"
            layout = TypeMaker(connection, home, plan.native.get("types"), create=create).layout(layout)
            if table is None:
                table = tables.create(connection, home, name, plan, layout, extension)
            else:
                layout = tables.check_existing(connection, table, plan, layout)
            acknowledge.begin(connection, table, plan.import_id, fresh=not (plan.resume and kept))
        self._attached(plan, table, layout, extension)

    def attach(self, plan: TargetPlan) -> None:
        """See ``Target.attach``; finds the table that ``prepare`` made."""
        with self._failures(), self._transaction(READ) as connection:
            table = find_table(connection, *table_name(self._place, self._name))
            if table is None:
                raise NotFound(f"the table {self._name!r} is gone", next="run the import again from its start")
            layout = new_columns(plan, self._place)
            layout = TypeMaker(connection, table.schema, plan.native.get("types"), create=False).layout(layout)
            layout = columns_in(table, layout, plan)
            self._attached(plan, table, layout, read_extension(connection))

    def acknowledged(self) -> set[Mark] | None:
        """The row groups whose transactions were committed."""
        plan, table = self._prepared()
        with self._failures(), self._transaction(READ) as connection:
            return acknowledge.marks(connection, table, plan.import_id)

    def write(self, batch: Batch, mark: Mark) -> None:
        """See ``Target.write``. One transaction holds the rows and the acknowledgement of the row group.

        Raises:
            NotRepresentable: a value that the table would hold as another one.
            IntegrityError: two records have the same key.
            Unavailable: the connection was lost; whether the group is there is seen when it is written again.
        """
        plan, table = self._prepared()
        _check(batch, plan, mark)
        if self._finished or not batch.num_rows:
            # Only an import whose groups were all acknowledged is finished.
            return
        with self._failures(mark):
            try:
                with self._transaction(WRITE) as connection:
                    if acknowledge.record(connection, table, plan.import_id, mark):
                        self._load(connection, plan, table, batch)
            except Exception as error:
                # An id that stands twice is not the fault of one record.
                single = blame.is_poison(error) and not _repeats(batch)
                blamed = self._blamed(plan, table, batch, mark) if single else None
                if blamed is None:
                    raise
                raise blamed from error

    def _blamed(self, plan: TargetPlan, table: Table, batch: Batch, mark: Mark) -> VecportError | None:
        """The error of the first record that the table refuses; None where there is no such record."""
        shared = self._shared
        with self._transaction(WRITE, keep=False) as connection:
            found = blame.first_refused(connection, batch, lambda part: self._load(connection, plan, table, part))
        self._shared = shared
        return None if found is None else blame.named(*found, f"row group {mark.group} of {mark.shard}")

    def _load(self, connection: Connection, plan: TargetPlan, table: Table, batch: Batch) -> None:
        """Write a page; a new table is filled without a detour, until somebody else writes into it as well."""
        import psycopg

        indexed = {index.column for index in indexes.plan_indexes(plan, self._layout_of())}
        loader = Loader(connection, self._layout_of(), plan.collection, self._caster.cast, indexed)
        if plan.if_exists != "append" and not self._shared:
            try:
                with connection.transaction():
                    loader.insert(table, batch)
                return
            except psycopg.errors.UniqueViolation:
                if _repeats(batch):
                    raise
                self._shared = True
        if plan.on_conflict != "replace" and _repeats(batch):
            # An INSERT that skips would take the first of them and say nothing.
            raise IntegrityError("two records of the row group have the same key", safe="the row group was not written")
        loader.merge(table, batch, plan.on_conflict)

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """See ``Target.delete``."""
        ids = sole_ids(keys, "PostgreSQL")
        with self._failures(), self._transaction(WRITE) as connection:
            found = look(connection, self._place, self._name)
            rows = json.dumps(key_rows(found.layout, ids))
            condition = key_condition(found.layout, "$1", connection.info.server_version)
            run(connection, f"DELETE FROM ONLY {found.table.quoted} WHERE {condition}", [rows])

    def finish(self, passport: Mapping[str, Json]) -> None:
        """See ``Target.finish``: index, statistics, final comment, and the end of the acknowledgements."""
        plan, table = self._prepared()
        layout = self._layout_of()
        planned = indexes.plan_indexes(plan, layout)
        with self._failures(), self._transaction(WRITE) as connection:
            now = find_table(connection, table.schema, table.name)
            if now is None or now.oid != table.oid:
                raise NotFound(f"the table {table.shown} is gone", next="run the import again from its start")
            # A table of the user's that is appended to gets an index only on request.
            if tables.may_comment(now, plan) or any(key.startswith("index") for key in plan.settings):
                for index in planned:
                    assert self._extension is not None
                    with watch.watched(self._place, connection, f"{index.method} on {index.column}", self.report):
                        indexes.build_index(connection, now, index, self._extension)
            tables.restart_counters(connection, now)
            if tables.may_comment(now, plan):
                tables.write_comment(connection, now.quoted, tables.knowing(plan, now), layout, passport, "complete")
            acknowledge.end(connection, now, plan.import_id)
            run(connection, f"ANALYZE {now.quoted}")
        self._finished = plan.if_exists != "append"

    def search(self, vector: str, query: npt.NDArray[np.float32], k: int, namespace: str = "") -> list[Hit]:
        """See ``Target.search``; the score is the operator's value.

        An index of pgvector answers with at most ``ef_search`` or ``probes`` candidates, so both are raised to suit k.
        """
        check_default(namespace, "PostgreSQL")
        found = self._look()
        slot = next((slot for slot in found.layout.of("vector") if slot.name == vector), None)
        if slot is None or found.extension is None:
            raise UsageError(f"the table {found.table.shown} has no vector {vector!r}")
        metric = found.collection.vector(vector).metric
        if metric not in VECTOR_TYPES[slot.vector].metrics:
            raise UsageError(
                f"the metric of {found.table.shown} is not known",
                why="no index of the table says it",
                next="choose one at the import: --set metric=cosine",
            )
        operator = found.extension.operator(OPERATORS[metric][1])
        kind = "bit varying" if slot.vector == "bit" else found.extension.name(slot.vector)
        distance = f"{sql.quote(slot.column)} {operator} $1::text::{kind}"
        keys = ", ".join(expressions(key)[0] for key in found.layout.keys)
        statement = f"SELECT {distance}, {keys} FROM {found.table.rows} ORDER BY {distance} LIMIT $2"
        with self._failures(), self._transaction(READ) as connection:
            _widen_search(connection, found, slot.column, k)
            rows = run(connection, statement, [_spelled(slot, query), k]).fetchall()
        return [Hit(_hit_id(found.layout, row[1:]), float(row[0])) for row in rows if row[0] is not None]

    def query_hint(self) -> str:
        """A search in SQL with the operator of the metric, by the first vector that has one."""
        found = self._look()
        known = {v.name: v.metric for v in found.collection.vectors}
        slot = next((s for s in found.layout.of("vector") if known[s.name] in VECTOR_TYPES[s.vector].metrics), None)
        if slot is None or found.extension is None:
            return ""
        keys = ", ".join(sql.quote(key.column) for key in found.layout.keys)
        plain = found.extension.schema in ("public", found.table.schema)
        operator = OPERATORS[known[slot.name]][1]
        operator = operator if plain else found.extension.operator(operator)
        shown = {"bit": "B'...'", "sparsevec": f"'{{...}}/{slot.dim}'"}.get(slot.vector, "'[...]'")
        distance = f"{sql.quote(slot.column)} {operator} {shown}"
        return f"SELECT {keys}, {distance} AS distance FROM {found.table.quoted} ORDER BY {distance} LIMIT 10;"

    def count(self) -> int:
        """See ``Target.count``."""
        with self._failures(), self._transaction(READ) as connection:
            table = find_table(connection, *table_name(self._place, self._name))
            if table is None:
                raise NotFound(f"there is no table {self._name!r}")
            return int(tables.scalar(connection, f"SELECT count(*) FROM {table.rows}"))

    def close(self) -> None:
        """See ``Target.close``."""
        self._caster.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- how it works --------------------------------------------------------------------------

    def _prepared(self) -> tuple[TargetPlan, Table]:
        if self._plan is None or self._table is None:
            raise UsageError("this session was neither prepared nor attached")
        return self._plan, self._table

    def _layout_of(self) -> Layout:
        assert self._layout is not None
        return self._layout

    def _attached(self, plan: TargetPlan, table: Table, layout: Layout, extension: Extension | None) -> None:
        comment = parse_comment(table.comment)
        self._plan, self._table, self._layout, self._extension = plan, table, layout, extension
        self._finished = (
            comment is not None
            and comment.state == "complete"
            and comment.import_id == plan.import_id
            and plan.resume
            and plan.if_exists != "append"
        )

    def _look(self) -> Found:
        with self._failures(), self._transaction(READ) as connection:
            return look(connection, self._place, self._name)

    @contextmanager
    def _failures(self, mark: Mark | None = None) -> Iterator[None]:
        where = f" (row group {mark.group} of {mark.shard})" if mark else ""
        with translated(f"{self._place.text} {self._name!r}{where}", self._place.password):
            yield

    @contextmanager
    def _transaction(self, mode: str, *, keep: bool = True) -> Iterator[Connection]:
        """Open the connection if need be, begin, and commit or roll back; without ``keep``, roll back anyhow."""
        import psycopg

        if self._connection is None or self._connection.closed:
            self._connection = connect(self._place)
        connection = self._connection
        try:
            begin(connection, mode)
            yield connection
            connection.execute("COMMIT" if keep else "ROLLBACK")
        except BaseException:
            try:
                if not connection.closed:
                    connection.execute("ROLLBACK")
            except psycopg.Error:
                connection.close()
            raise


def _check(batch: Batch, plan: TargetPlan, mark: Mark) -> None:
    """Refuse what no table can hold, whatever its columns are."""
    where = f"row group {mark.group} of {mark.shard}"
    check_batch(batch, plan, where)
    if pc.any(pc.not_equal(batch.column("namespace"), "")).as_py():
        raise NotRepresentable(f"{where} has namespaces", why="a table has none", safe="nothing of it was written")
    longest = pc.max(pc.binary_length(batch.column("id"))).as_py() or 0
    if not plan.collection.key and longest > ID_MAX_BYTES:
        raise NotRepresentable(
            f"{where} has an id of {longest:,} bytes",
            why=f"an index of Postgres holds keys of up to {ID_MAX_BYTES:,} bytes",
            safe="nothing of it was written",
        )


def _widen_search(connection: Connection, found: Found, column: str, k: int) -> None:
    """Make the indexes look at enough candidates for k results: they answer with fewer otherwise, without a word."""
    assert found.extension is not None
    lists = [
        int(option.removeprefix("lists="))
        for index in found.table.indexes
        if index.column == column and index.method == "ivfflat"
        for option in index.options or ("lists=100",)
    ]
    connection.execute(f"SET LOCAL hnsw.ef_search = {min(_MAX_EF_SEARCH, max(100, 2 * k))}")
    connection.execute(f"SET LOCAL ivfflat.probes = {math.isqrt(max(lists, default=1)) + 1}")
    if tuple(map(int, found.extension.version.split(".")[:2])) >= (0, 8):
        connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
        connection.execute("SET LOCAL ivfflat.iterative_scan = relaxed_order")


def _spelled(slot: Slot, query: npt.NDArray[np.float32]) -> str:
    """A query as the text of the column's type: bits are what is above zero."""
    if slot.vector == "bit":
        return "".join("1" if x > 0 else "0" for x in query.tolist())
    if slot.vector == "sparsevec":
        entries = ",".join(f"{i + 1}:{float(query[i])!r}" for i in np.flatnonzero(query).tolist())
        return f"{{{entries}}}/{slot.dim}"
    return "[" + ",".join(map(repr, np.asarray(query, np.float64).tolist())) + "]"


def _repeats(batch: Batch) -> bool:
    """Whether a page has an id twice."""
    return bool(pc.count_distinct(batch.column("id")).as_py() < batch.num_rows)


def _hit_id(layout: Layout, values: Sequence[Any]) -> str:
    """The id of a search result, from its key columns as the client gives them."""
    plain = [value if isinstance(value, bool | int | str) else str(value) for value in values]
    if not layout.flat:
        return canonical.dumps(plain)
    return canonical.dumps(plain[0]) if isinstance(plain[0], bool) else str(plain[0])
