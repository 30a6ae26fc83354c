"""Broken targets: what they write, keep, delete and find."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vecport.connectors.address import Place
from vecport.connectors.contract import Description, Hit, Json, Mark, Selection, Target, TargetPlan
from vecport.connectors.memory import MemoryConnector, MemoryTarget
from vecport.errors import AlreadyExists, NotRepresentable, Throttled
from vecport.model.capabilities import MetadataRules
from vecport.model.collection import Bound, Collection

from .making import Broken, column, writing

NAMED = "test_a_collection_has_any_name_that_is_claimed_and_no_other"
SPACES = "test_a_namespace_has_any_name_that_is_claimed_and_no_other"
ONCE = ("test_any_number_of_records_comes_back", 17)
VALUES, VECTORS, IDS = (
    "test_metadata_values_come_back_exactly", "test_vectors_come_back_exactly", "test_ids_stay_what_they_are",
)  # fmt: skip


def _rounded(v: Any) -> Any:
    return None if v is None else np.clip(v, -9, 9).astype(np.float16).astype(np.float32)


def _bits_reversed(bits: bytes | None) -> bytes | None:
    return None if bits is None else bytes(int(f"{b:08b}"[::-1], 2) for b in bits)


def _without_zeros(v: Any) -> Any:
    if v is None:
        return None
    kept = [(i, x) for i, x in zip(v["indices"], v["values"], strict=True) if x != 0]
    return {"indices": [i for i, _ in kept], "values": [x for _, x in kept]}


def _unit(v: Any) -> Any:
    return None if v is None else np.asarray(v) / (np.linalg.norm(v) or 1)


def _metadata(change: Any) -> Any:
    return column("metadata", lambda text: json.dumps(change(json.loads(text)), ensure_ascii=False))


DAMAGE = {
    "vectors are rounded": writing(column("vector", _rounded), ("test_hard_floats_come_back_exactly",)),
    "doubles become singles": writing(
        column("vector", lambda v: v and np.asarray(v).astype(np.float32).astype(np.float64)),
        (VECTORS, "dense", "float64")),
    "vectors lose the sign of zero": writing(
        column("vector", lambda v: v and [x + 0.0 for x in v]), ("test_hard_floats_come_back_exactly",)),
    "vectors are made unit vectors": writing(column("vector", _unit), (VECTORS, "dense", "float32")),
    "lacking vectors become zeros": writing(
        column("vector", lambda v: v or [0.0] * 8), ("test_a_lacking_vector_stays_lacking_or_is_refused", (2,))),
    "NaN loses its bits": writing(
        column("vector", lambda v: v and [float("nan") if x != x else x for x in v]),
        ("test_nan_and_infinity_come_back_or_are_refused",)),
    "explicit zeros of sparse vectors are dropped": writing(
        column("vector", _without_zeros), ("test_empty_and_zero_entries_of_sparse_vectors_are_kept_or_refused",)),
    "an empty sparse vector becomes a lacking one": writing(
        column("vector", lambda v: v and (v if v["indices"] else None)),
        ("test_empty_and_zero_entries_of_sparse_vectors_are_kept_or_refused",)),
    "sparse indices are turned round": writing(
        column("vector", lambda v: v and {"indices": v["indices"][::-1], "values": v["values"][::-1]}),
        (VECTORS, "sparse", "float32")),
    "sparse values are shifted": writing(
        column("vector", lambda v: v and {**v, "values": [*v["values"][1:], *v["values"][:1]]}),
        (VECTORS, "sparse", "float32")),
    "the last row of a multivector is dropped": writing(
        column("vector", lambda v: v and v[: max(1, len(v) - 1)]), (VECTORS, "multi", "float32")),
    "rows of a multivector are reordered": writing(
        column("vector", lambda v: v and v[::-1]), (VECTORS, "multi", "float32")),
    "an empty multivector becomes a lacking one": writing(
        column("vector", lambda v: v or None), ("test_empty_multi_vectors_are_kept_or_refused",)),
    "bits are in the other order": writing(column("vector", _bits_reversed), (VECTORS, "binary", "bit")),
    "null values are dropped": writing(
        _metadata(lambda m: {k: v for k, v in m.items() if v is not None}), (VALUES, "null")),
    "null values become empty texts": writing(
        _metadata(lambda m: {k: "" if v is None else v for k, v in m.items()}), (VALUES, "null")),
    "true becomes 1": writing(
        _metadata(lambda m: {k: int(v) if isinstance(v, bool) else v for k, v in m.items()}), (VALUES, "boolean")),
    "1.0 becomes 1": writing(column("metadata", lambda t: t.replace(".0}", "}")), (VALUES, "number")),
    "large integers become doubles": writing(
        _metadata(lambda m: {k: float(v) if type(v) is int and abs(v) > 2**53 else v for k, v in m.items()}),
        (VALUES, "integer64")),
    "lists are sorted": writing(
        _metadata(lambda m: {k: sorted(v) if isinstance(v, list) else v for k, v in m.items()}),
        (VALUES, "list_string")),
    "lists lose repeated elements": writing(
        _metadata(lambda m: {k: list(dict.fromkeys(v)) if isinstance(v, list) else v for k, v in m.items()}),
        (VALUES, "list_string")),
    "nested objects are dropped": writing(
        _metadata(lambda m: {k: v for k, v in m.items() if not isinstance(v, dict)}), (VALUES, "object")),
    "nested objects become text": writing(
        _metadata(lambda m: {k: json.dumps(v) if isinstance(v, dict) else v for k, v in m.items()}),
        (VALUES, "object")),
    "empty lists are dropped": writing(
        _metadata(lambda m: {k: v for k, v in m.items() if v != []}), (VALUES, "list_empty")),
    "text is normalised": writing(
        column("metadata", lambda t: unicodedata.normalize("NFC", t)), (VALUES, "string")),
    "keys are folded": writing(
        column("metadata", lambda t: t.lower()), ("test_any_key_comes_back_or_is_refused_as_declared",)),
    "keys lose what follows a dot": writing(
        _metadata(lambda m: {k.split(".")[0]: v for k, v in m.items()}),
        ("test_any_key_comes_back_or_is_refused_as_declared",)),
    "ids are stripped": writing(column("id", str.strip), (IDS, "string")),
    "ids are folded": writing(column("id", str.lower), (IDS, "string")),
    "ids that look like numbers lose leading zeros": writing(
        column("id", lambda i: str(int(i)) if i.isdecimal() else i), (IDS, "string")),
    "an empty document becomes none": writing(
        column("document", lambda d: d or None), ("test_documents_come_back_or_are_refused",)),
    "no document becomes an empty one": writing(
        column("document", lambda d: d or ""), ("test_documents_come_back_or_are_refused",)),
    "namespaces are dropped": writing(
        column("namespace", lambda n: ""), ("test_namespaces_keep_equal_ids_apart_or_are_refused",)),
    "namespaces are folded": writing(column("namespace", str.lower), (SPACES,)),
    "the default namespace gets a name": writing(column("namespace", lambda n: n or "_default"), (SPACES,)),
    "the last record of a row group is forgotten": writing(
        lambda b: b.slice(0, max(1, b.num_rows - 1)), ONCE),
    "what is above the size of a request is forgotten": writing(
        lambda b: b.slice(0, 1_000), ("test_a_row_group_above_the_request_size_is_split",)),
    "the buffers of a slice are read from their start": writing(
        lambda b: pa.RecordBatch.from_arrays(
            [pa.Array.from_buffers(c.type, len(c), c.buffers(), c.null_count) if pa.types.is_string(c.type) else c
             for c in b.columns], schema=b.schema),
        ("test_a_batch_sliced_from_a_larger_one_is_written_right",)),
}  # fmt: skip


def _claim(case: tuple[Any, ...], **caps: Any) -> Broken:
    return Broken((case,), caps=caps)


CLAIMS = {
    "forbidden keys are taken": _claim(
        ("test_a_forbidden_key_is_refused",), metadata=MetadataRules(forbidden_keys=r"\$.*")),
    "any name is claimed, and the place lists another": Broken(
        ((NAMED,),), connector={"collections": lambda self, place: []}),
    "a passport is kept without saying so": _claim(("test_the_passport_comes_back",), passport=False),
    "marks are claimed and not kept": _claim(
        ("test_only_transactional_targets_name_their_marks",), ack="transactional"),
    "bounds are claimed and not described": _claim(
        ("test_a_declared_bound_is_also_described",), bounds={"cosine": Bound(1e-6)}),
}  # fmt: skip


class _Merging(MemoryTarget):
    """Metadata that is there stays beside the new."""

    def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
        with MemoryConnector().open_source(self._place, self._name, Selection()) as source:
            source.attach(source.snapshot())
            keys = zip(batch.column("namespace").to_pylist(), batch.column("id").to_pylist(), strict=True)
            old = {r["id"]: json.loads(r["metadata"]) for r in source.fetch(list(keys)).to_pylist()}
        texts = [
            json.dumps(old.get(i, {}) | json.loads(t))
            for i, t in zip(batch.column("id").to_pylist(), batch.column("metadata").to_pylist(), strict=True)
        ]
        place = batch.schema.get_field_index("metadata")
        super().write(batch.set_column(place, batch.schema.field(place), pa.array(texts)), mark)


class _Eager(MemoryTarget):
    """Creates when it is opened."""

    def describe(self) -> Description | None:
        MemoryTarget(self._place, self._name).prepare(TargetPlan(Collection(self._name), 0, if_exists="append"))
        return None


class _Overwriting(MemoryTarget):
    def prepare(self, plan: TargetPlan) -> None:
        super().prepare(replace(plan, if_exists="append" if plan.if_exists == "create" else plan.if_exists))


class _Emptying(MemoryTarget):
    def prepare(self, plan: TargetPlan) -> None:
        super().prepare(replace(plan, if_exists="replace" if plan.if_exists == "append" else plan.if_exists))


class _NeverEmptying(MemoryTarget):
    def prepare(self, plan: TargetPlan) -> None:
        if plan.if_exists == "replace" and super().describe() is not None:
            plan = replace(plan, if_exists="append", collection=super().describe().collection)  # type: ignore[union-attr]
        super().prepare(plan)


class _KeepsStrangers(MemoryTarget):
    """A resumed import takes whatever is there for its own."""

    def prepare(self, plan: TargetPlan) -> None:
        super().prepare(replace(plan, if_exists="append") if plan.resume else plan)


class _ForgetsItsOwn(MemoryTarget):
    """A resumed replacement begins anew, though row groups are acknowledged."""

    def prepare(self, plan: TargetPlan) -> None:
        super().prepare(replace(plan, resume=False))


class _TakesAnySetting(MemoryTarget):
    def prepare(self, plan: TargetPlan) -> None:
        super().prepare(replace(plan, settings={}))


class _Skipping(MemoryTarget):
    """Keeps what is there whatever was chosen."""

    def attach(self, plan: TargetPlan) -> None:
        super().attach(replace(plan, on_conflict="skip"))


class _Replacing(MemoryTarget):
    """Replaces what is there whatever was chosen."""

    def attach(self, plan: TargetPlan) -> None:
        super().attach(replace(plan, on_conflict="replace"))


class _Late(MemoryTarget):
    """Holds records back until finish, though it acknowledges them."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._held: list[tuple[pa.RecordBatch, Mark]] = []

    def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
        self._held.append((batch, mark))

    def finish(self, passport: Mapping[str, Json]) -> None:
        for batch, mark in self._held:
            super().write(batch, mark)
        super().finish(passport)


class _NeverVisible(_Late):
    """Finish returns before the last row group can be seen."""

    def finish(self, passport: Mapping[str, Json]) -> None:
        self._held = self._held[:-1]
        super().finish(passport)


class _FinishesOnce(_Late):
    def finish(self, passport: Mapping[str, Json]) -> None:
        super().finish(passport)
        for batch, _ in self._held:
            self.delete([("", str(i)) for i in batch.column("id").to_pylist()][:1])


class _KeepsDeleted(MemoryTarget):
    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        return None


class _DeletesEverything(MemoryTarget):
    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        ids = self._ids()
        super().delete([("", i) for i in ids if any(i <= k for _, k in keys)])

    def _ids(self) -> list[str]:
        with MemoryConnector().open_source(self._place, self._name, Selection()) as source:
            source.attach(source.snapshot())
            return [str(i) for b in source.keys() for i in b.column("id").to_pylist()]


class _Worst(MemoryTarget):
    """Finds the farthest."""

    def search(self, vector: str, query: npt.NDArray[np.float32], k: int, namespace: str = "") -> list[Hit]:
        return super().search(vector, query, 1_000, namespace)[::-1][:k]


class _Repeating(MemoryTarget):
    def search(self, vector: str, query: npt.NDArray[np.float32], k: int, namespace: str = "") -> list[Hit]:
        return super().search(vector, query, 1, namespace) * k


class _ForgetsPassport(MemoryTarget):
    def finish(self, passport: Mapping[str, Json]) -> None:
        super().finish({})


class _CountsWrong(MemoryTarget):
    def count(self) -> int | None:
        return (super().count() or 0) + 1


class _FoldsNames(MemoryTarget):
    def __init__(self, place: Place, name: str) -> None:
        super().__init__(place, name.lower())


class _RefusesLongNames(MemoryTarget):
    """It has a limit that its capabilities do not name."""

    def prepare(self, plan: TargetPlan) -> None:
        if len(plan.collection.name) > 255:
            raise NotRepresentable("the name is too long")
        super().prepare(plan)


class _UnknownChoice(MemoryTarget):
    def prepare(self, plan: TargetPlan) -> None:
        known = plan.if_exists in ("create", "append", "replace")
        super().prepare(plan if known else replace(plan, if_exists="append"))


def _fails_for_good(target: Target) -> Target:
    """A database that is busy is reported as one that refuses."""
    write = target.write

    def refuses(batch: pa.RecordBatch, mark: Mark) -> None:
        try:
            write(batch, mark)
        except Throttled:
            raise NotRepresentable("database is locked") from None

    target.write = refuses  # type: ignore[method-assign]
    return target


class _AlwaysThere(MemoryTarget):
    def prepare(self, plan: TargetPlan) -> None:
        if plan.if_exists == "create" and super().describe() is not None and not plan.resume:
            raise AlreadyExists("it is there", safe="nothing was written")
        super().prepare(plan)


def _target(target: type[MemoryTarget], *cases: tuple[Any, ...]) -> Broken:
    return Broken(cases, target=target)


class _KnowsNothing(MemoryTarget):
    def begun(self, import_id: str, there: Description | None) -> str | None:
        return None


class _KnowsEverything(MemoryTarget):
    """Whose import it was is not looked at."""

    def begun(self, import_id: str, there: Description | None) -> str | None:
        passport = there.passport if there is not None and there.passport is not None else {}
        return passport.get("nonce")


class _KeepsTheFirstNonce(MemoryTarget):
    def prepare(self, plan: TargetPlan) -> None:
        there = self.describe()
        first = (there.passport or {}).get("nonce") if there is not None else None
        super().prepare(replace(plan, passport={**plan.passport, "nonce": first}) if first else plan)


class _HoldsAll(MemoryTarget):
    def holds(self, keys: Sequence[tuple[str, str]]) -> list[bool]:
        return [True for _ in keys]


class _HoldsOutOfOrder(MemoryTarget):
    def holds(self, keys: Sequence[tuple[str, str]]) -> list[bool]:
        return sorted(super().holds(keys))[::-1]


BEGUN = "test_what_was_begun_is_known_by_its_nonce"
HELD = "test_records_that_are_there_are_told_from_those_that_are_not"
RESUMED = "test_a_resumed_import_keeps_what_it_wrote"
CONFLICT = "test_a_record_that_is_there_is_dealt_with_as_chosen"

BEHAVIOUR = {
    "a record is merged with the one that is there": _target(_Merging, ("test_a_record_is_replaced_as_a_whole",)),
    "opening creates": _target(_Eager, ("test_opening_a_target_creates_nothing",)),
    "existing records are overwritten": _target(_Overwriting, ("test_existing_records_are_sacred",)),
    "append empties": _target(_Emptying, ("test_append_adds_to_what_is_there",)),
    "replace keeps": _target(
        _NeverEmptying, ("test_replace_leaves_nothing_of_before",),
        ("test_a_resumed_replace_leaves_nothing_of_a_stranger",)),
    "a resumed replacement keeps a stranger's records": _target(
        _KeepsStrangers, ("test_a_resumed_replace_leaves_nothing_of_a_stranger",)),
    "the name of the import is not looked at": _target(
        _KeepsStrangers, ("test_a_resumed_import_refuses_the_records_of_another",)),
    "a resumed replacement drops what this import wrote": _target(_ForgetsItsOwn, (RESUMED, "replace")),
    "the nonce of an import is lost": _target(_KnowsNothing, (BEGUN, "create"), (BEGUN, "append")),
    "the nonce of any import is given": _target(_KnowsEverything, (BEGUN, "create")),
    "an import that begins anew keeps its first nonce": _target(_KeepsTheFirstNonce, (BEGUN, "append")),
    "records that are lost are said to be there": _target(_HoldsAll, (HELD,)),
    "answers about keys come in another order": _target(_HoldsOutOfOrder, (HELD,)),
    "an unknown setting is ignored": _target(
        _TakesAnySetting, ("test_an_unknown_setting_is_refused_and_nothing_created",)),
    "names of collections are folded": _target(_FoldsNames, (NAMED,)),
    "a limit on names is not claimed": _target(_RefusesLongNames, (NAMED,)),
    "an unknown choice is ignored": _target(_UnknownChoice, ("test_an_unknown_if_exists_is_refused",)),
    "an empty collection cannot be filled": _target(_AlwaysThere, ("test_an_empty_collection_may_be_filled",)),
    "conflicts are skipped": _target(_Skipping, (CONFLICT, "replace"), (CONFLICT, "fail")),
    "conflicts are replaced": _target(_Replacing, (CONFLICT, "skip"), (CONFLICT, "fail")),
    "records are acknowledged before they are durable": _target(
        _Late, (RESUMED, "create"), ("test_an_interrupted_import_is_completed", 3)),
    "finish returns before records are visible": _target(
        _NeverVisible, ("test_finish_makes_every_record_visible",)),
    "finish cannot be repeated": _target(_FinishesOnce, ("test_finish_can_be_repeated",)),
    "delete deletes nothing": _target(_KeepsDeleted, ("test_deleted_records_are_gone_and_the_others_stay",)),
    "delete deletes too much": _target(_DeletesEverything, ("test_deleted_records_are_gone_and_the_others_stay",)),
    "search gives the farthest": _target(_Worst, ("test_search_finds_the_nearest", "l2")),
    "search repeats a record": _target(_Repeating, ("test_search_finds_the_nearest", "dot")),
    "the passport is forgotten": _target(_ForgetsPassport, ("test_the_passport_comes_back",)),
    "a target's count is off by one": _target(_CountsWrong, ("test_counts_are_exact",)),
    "busy is final": Broken(
        (("test_a_busy_database_is_a_reason_to_try_again",),), around_target=_fails_for_good),
}  # fmt: skip

WRITERS = DAMAGE | CLAIMS | BEHAVIOUR
