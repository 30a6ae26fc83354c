"""Writing a table: created with its key, filled by COPY in transactions that acknowledge themselves, indexed last."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from ...errors import NotFound, NotRepresentable, UsageError, VecportError
from ...model.capabilities import VALUE_KINDS, MetadataRules, TargetCapabilities
from ...model.collection import Collection
from ..address import Place
from ..checks import check_default, check_plan, sole_ids
from ..contract import Description, Hit, Json, Mark, Permission, Target, TargetPlan
from . import acknowledge, blame, permissions, search, sql, tables, watch
from .arrow import Batch
from .catalog import Extension, Table, find_table, read_extension
from .client import READ, WRITE, begin, connect, run
from .columns import INT_MAX, INT_MIN, columns_in, new_columns
from .conflicts import There
from .failures import translated
from .indexes import build_index, plan_indexes
from .keys import key_condition, key_rows, present
from .layout import Layout
from .loader import ROWS_AT_ONCE, Caster, Loader
from .owntypes import TypeMaker
from .schema import look, table_name, version
from .settings import TITLE
from .stopping import stoppable
from .types import PATTERN
from .vectors import VECTOR_TYPES

if TYPE_CHECKING:
    from .client import Connection

#: A key in a btree index has at most 2,704 bytes, of which some are the entry's own.
ID_MAX_BYTES: Final = 2_600
#: A table has at most 1,600 columns; the others are key, document and metadata.
MAX_VECTORS: Final = 1_500
_INEXACT: Final = frozenset({"number_negative_zero", "nonfinite", "bytes", "surrogates", "string_nul"})


class _Import:
    """What a session writes, and into which table.

    Attributes:
        indexes: that ``finish`` builds.
    """

    def __init__(self, plan: TargetPlan, table: Table, layout: Layout, extension: Extension | None) -> None:
        self.plan, self.table, self.layout, self.extension = plan, table, layout, extension
        self.indexes = plan_indexes(plan, layout)


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
        vector_names=sql.NAMES,
        collection_names=replace(sql.NAMES, parts=sql.name_parts),
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
        if place.option("schema"):
            # Then the name is the table's alone, whatever is in it.
            self.capabilities = replace(self.capabilities, collection_names=sql.NAMES)
        self._connection: Connection | None = None
        self._caster = Caster(place, self._check_stop)
        self._there = There(place, self.capabilities, self._check_stop)
        self._import: _Import | None = None
        #: Somebody else writes into the new table, so that keys of the dump may be there already.
        self._shared = False

    # -- what a caller sees --------------------------------------------------------------------

    def describe(self) -> Description | None:
        """See ``Target.describe``. A table that cannot be read in full is described by its notes alone."""
        with self._failures(), self._transaction(READ) as connection, stoppable(connection, self.report):
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

    def begun(self, import_id: str, there: Description | None) -> str | None:
        """See ``Target.begun``. In a table without a comment of vecport's, the acknowledgements hold the nonce."""
        with self._failures(), self._transaction(READ) as connection:
            table = find_table(connection, *table_name(self._place, self._name))
            nonce = None if table is None else acknowledge.nonce(connection, table, import_id)
        return nonce or super().begun(import_id, there)

    def prepare(self, plan: TargetPlan) -> None:
        """See ``Target.prepare``. All of it is one transaction.

        Raises:
            UsageError: an unknown setting, an index that cannot be built, a schema that does not exist.
            AlreadyExists: the table has records, and the plan says ``create`` without ``resume``.
            NotRepresentable: an existing table has other columns or another metric; a name or a type that Postgres
                cannot hold.
            NotFound: the server has no pgvector.
            AuthenticationFailed: the role may not create what is needed.
            Interrupted: the user wants to stop; nothing was changed.
        """
        check_plan(plan, self.capabilities, TITLE)
        wanted = new_columns(plan, self._place)
        # An index that cannot be built is refused before anything is created.
        plan_indexes(plan, wanted)
        # It may wait for a lock on a table that is there.
        with self._failures(), self._transaction(WRITE) as connection, stoppable(connection, self.report):
            ready = tables.make_ready(connection, self._place, self._name, plan, wanted)
        self._import = _Import(plan, *ready)

    def attach(self, plan: TargetPlan) -> None:
        """See ``Target.attach``; finds the table that ``prepare`` made."""
        with self._failures(), self._transaction(READ) as connection:
            table = find_table(connection, *table_name(self._place, self._name))
            if table is None:
                raise NotFound(f"the table {self._name!r} is gone", next="run the import again from its start")
            layout = new_columns(plan, self._place)
            layout = TypeMaker(connection, table.schema, plan.native.get("types"), create=False).layout(layout)
            layout = columns_in(table, layout, plan)
            self._import = _Import(plan, table, layout, read_extension(connection))

    def acknowledged(self) -> set[Mark] | None:
        """The row groups whose transactions were committed."""
        work = self._prepared()
        with self._failures(), self._transaction(READ) as connection:
            return acknowledge.marks(connection, work.table, acknowledge.key_of(work.plan))

    def forget(self, marks: Sequence[Mark]) -> None:
        """See ``Target.forget``."""
        work = self._prepared()
        with self._failures(), self._transaction(WRITE) as connection:
            acknowledge.forget(connection, work.table, acknowledge.key_of(work.plan), marks)

    def write(self, batch: Batch, mark: Mark) -> None:
        """See ``Target.write``. One transaction holds the rows and the acknowledgement of the row group.

        Raises:
            NotRepresentable: a value that the table would hold as another one.
            IntegrityError: two records have the same key.
            Unavailable: the connection was lost; whether the group is there is seen when it is written again.
        """
        work = self._prepared()
        if not batch.num_rows:
            return
        with self._failures(mark):
            try:
                with self._transaction(WRITE) as connection:
                    if acknowledge.record(connection, work.table, acknowledge.key_of(work.plan), mark):
                        self._load(connection, work, batch)
            except Exception as error:
                blamed = self._blamed(work, batch, mark) if blame.is_poison(error) else None
                if blamed is None:
                    raise
                raise blamed from error

    def _blamed(self, work: _Import, batch: Batch, mark: Mark) -> VecportError | None:
        """The error of the first record that the table refuses; None where there is no such record."""
        shared = self._shared
        with self._transaction(WRITE, keep=False) as connection:
            found = blame.first_refused(connection, batch, lambda part: self._load(connection, work, part))
        self._shared = shared
        return None if found is None else blame.named(*found, f"row group {mark.group} of {mark.shard}")

    def _load(self, connection: Connection, work: _Import, batch: Batch) -> None:
        """Write a page; a new table is filled without a detour, until somebody else writes into it as well."""
        import psycopg

        plan = work.plan
        indexed = {index.column for index in work.indexes}
        loader = Loader(connection, work.layout, plan.collection, self._caster.cast, indexed, self._there)
        if plan.if_exists != "append" and not self._shared:
            try:
                with connection.transaction():
                    loader.insert(work.table, batch)
                return
            except psycopg.errors.UniqueViolation:
                self._shared = True
        loader.merge(work.table, batch, plan.on_conflict)

    def holds(self, keys: Sequence[tuple[str, str]]) -> list[bool]:
        """See ``Target.holds``; a look-up by the key of the table."""
        work = self._prepared()
        with self._failures(), self._transaction(READ) as connection:
            return present(connection, work.table, work.layout, keys)

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """See ``Target.delete``."""
        ids = sole_ids(keys, TITLE)
        with self._failures(), self._transaction(WRITE) as connection:
            found = look(connection, self._place, self._name)
            rows = json.dumps(key_rows(found.layout, ids))
            condition = key_condition(found.layout, "$1", connection.info.server_version)
            run(connection, f"DELETE FROM ONLY {found.table.quoted} WHERE {condition}", [rows])

    def finish(self, passport: Mapping[str, Json]) -> None:
        """See ``Target.finish``: index, statistics, final comment, and the end of the acknowledgements."""
        work = self._prepared()
        plan, table = work.plan, work.table
        with self._failures(), self._transaction(WRITE) as connection:
            now = find_table(connection, table.schema, table.name)
            if now is None or now.oid != table.oid:
                raise NotFound(f"the table {table.shown} is gone", next="run the import again from its start")
            # A table of the user's that is appended to gets an index only on request.
            if tables.may_comment(now, plan) or any(key.startswith("index") for key in plan.settings):
                for index in work.indexes:
                    assert work.extension is not None
                    with watch.watched(self._place, connection, f"{index.method} on {index.column}", self.report):
                        build_index(connection, now, index, work.extension)
            tables.restart_counters(connection, now)
            if tables.may_comment(now, plan):
                known = tables.knowing(plan, now)
                tables.write_comment(connection, now.quoted, known, work.layout, passport, "complete")
            acknowledge.end(connection, now, plan.import_id)
            run(connection, f"ANALYZE {now.quoted}")

    def search(self, vector: str, query: npt.NDArray[np.float32], k: int, namespace: str = "") -> list[Hit]:
        """See ``Target.search`` and ``search.nearest``."""
        check_default(namespace, TITLE)
        with self._failures(), self._transaction(READ) as connection:
            return search.nearest(connection, look(connection, self._place, self._name), vector, query, k)

    def query_hint(self) -> str:
        """A search in SQL."""
        with self._failures(), self._transaction(READ) as connection:
            return search.example(look(connection, self._place, self._name))

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
        self._there.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- how it works --------------------------------------------------------------------------

    def _check_stop(self) -> None:
        self.report.check()

    def _prepared(self) -> _Import:
        if self._import is None:
            raise UsageError("this session was neither prepared nor attached")
        return self._import

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
            self._connection = connect(self._place, self._check_stop)
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
