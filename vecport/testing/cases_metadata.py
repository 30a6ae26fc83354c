"""Cases about ids, namespaces, documents and metadata: hard values come back, or are refused by name."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from typing import Any

import pytest

from ..connectors.contract import Mark
from ..model import canonical, parsed
from ..model.capabilities import VALUE_KINDS, MetadataRules
from ..model.collection import ID_KINDS, Collection
from ..model.passport import ORIGINALS
from ..model.profile import value_kind
from .bench import Bench, allowed_id, does_not_apply, refused
from .records import (
    HARD_INT_IDS,
    HARD_KEYS,
    HARD_STRING_IDS,
    HARD_UUID_IDS,
    HARD_VALUES,
    LEAVES,
    NFC,
    NFD,
    Record,
    batch_of,
)

DOCUMENTS = (
    None,
    "",
    " ",
    "text",
    NFC,
    NFD,
    "\U0001f469\u200d\U0001f680",
    "\u2028",
    '"{}\\',
    "\x01\x1f",
    "x" * 100_000,
)
NAMESPACES = ("", "eu", "EU", "a b", "a/b", "\u00e9", "default", "__default__", "7", "x" * 64)


def _survives(rules: MetadataRules, value: Any) -> bool:
    """Whether every double in a value comes back, as the target declares it."""
    if isinstance(value, float):
        return rules.survives is None or rules.survives(value)
    if isinstance(value, list):
        return all(_survives(rules, v) for v in value)
    return all(_survives(rules, v) for v in value.values()) if isinstance(value, dict) else True


class Metadata:
    """Values, keys and documents."""

    @pytest.mark.parametrize("kind", VALUE_KINDS)
    def test_metadata_values_come_back_exactly(self, bench: Bench, kind: str) -> None:
        made = bench.collection()
        rules = bench.target_caps.metadata
        if kind not in rules.exact:
            bench.keep_or_refuse(made, _with_values(bench, made, HARD_VALUES[kind]))
            return
        kept = [v for v in HARD_VALUES[kind] if _survives(rules, v)]
        bench.put(made, _with_values(bench, made, kept))
        bench.expect(made, _with_values(bench, made, kept))
        doubtful = [v for v in HARD_VALUES[kind] if not _survives(rules, v)]
        if doubtful:
            made = bench.collection()
            bench.keep_or_refuse(made, _with_values(bench, made, doubtful))

    @pytest.mark.parametrize("container", ["list", "object", "deep"])
    def test_nested_values_come_back_exactly_or_are_refused(self, bench: Bench, container: str) -> None:
        made = bench.collection()
        values: list[Any] = [_nested(container, leaf) for leaf in LEAVES.values()]
        records = _with_values(bench, made, values)
        kept, gone = bench.keep_or_refuse(made, records)
        exact = bench.target_caps.metadata.exact
        for (kind, leaf), record in zip(LEAVES.items(), records, strict=True):
            outer = value_kind(parsed.parse(canonical.dumps(_nested(container, leaf))))
            if kind in exact and outer in exact and _survives(bench.target_caps.metadata, leaf):
                assert record in kept, f"{kind} and {outer} are claimed, but {kind} in {outer} is refused"
        assert len(kept) + len(gone) == len(records)

    def test_any_key_comes_back_or_is_refused_as_declared(self, bench: Bench) -> None:
        rules = bench.target_caps.metadata
        if "string" not in rules.exact:
            does_not_apply("metadata holds no strings")
        made = bench.collection()
        good = [k for k in HARD_KEYS if not (rules.forbidden_keys and re.fullmatch(rules.forbidden_keys, k))]
        records = _with_metadata(
            bench, made, [{k: f"value of {k!r}"} for k in good] + [dict.fromkeys(good, "together")]
        )
        bench.put(made, records)
        bench.expect(made, records)

    def test_a_forbidden_key_is_refused(self, bench: Bench) -> None:
        pattern = bench.target_caps.metadata.forbidden_keys
        bad = [k for k in (*HARD_KEYS, "#x", "$x", "chroma:x") if pattern and re.fullmatch(pattern, k)]
        if not bad:
            does_not_apply("every key is allowed")
        made = bench.collection()
        bench.refuses_records(made, _with_metadata(bench, made, [{k: "value"} for k in bad]))

    def test_a_key_that_utf8_or_sql_cannot_hold_is_kept_or_refused(self, bench: Bench) -> None:
        pattern = bench.target_caps.metadata.forbidden_keys
        hard = ["a\0b", "\ud800", "a\udfff"]
        metadata = [{k: "value"} for k in hard] + [{"o": {k: "value"}} for k in hard]
        made = bench.collection()
        records = _with_metadata(bench, made, metadata)
        kept, _ = bench.keep_or_refuse(made, records)
        declared = [k for k in hard if pattern and re.fullmatch(pattern, k)]
        assert not any(k in r.metadata for r in kept for k in declared), "a forbidden key was taken"

    def test_the_key_of_originals_is_stored_like_any_other(self, bench: Bench) -> None:
        if "string" not in bench.target_caps.metadata.exact:
            does_not_apply("metadata holds no strings")
        made = bench.collection()
        text = canonical.dumps({"md": {"a": [1, None, "\u00e9"]}, "id": "7"})
        records = _with_metadata(bench, made, [{ORIGINALS: text, "b": "x"}, {ORIGINALS: text}])
        bench.put(made, records)
        bench.expect(made, records)

    def test_a_record_without_metadata_is_a_record(self, bench: Bench) -> None:
        made = bench.collection()
        records = _with_metadata(bench, made, [{}, {}, {}])
        bench.put(made, records)
        bench.expect(made, records)

    def test_records_have_keys_of_their_own(self, bench: Bench) -> None:
        if "string" not in bench.target_caps.metadata.exact:
            does_not_apply("metadata holds no strings")
        made = bench.collection()
        records = _with_metadata(bench, made, [{"a": "1"}, {"b": "2"}, {}, {"a": "3", "b": "4"}, {"c": ""}])
        bench.put(made, records)
        bench.expect(made, records)

    def test_a_key_may_have_values_of_several_kinds(self, bench: Bench) -> None:
        exact = bench.target_caps.metadata.exact
        made = bench.collection()
        values = [HARD_VALUES[kind][0] for kind in VALUE_KINDS if kind in exact]
        if not values:
            does_not_apply("it holds no metadata")
        records = _with_values(bench, made, values)
        bench.put(made, records)
        bench.expect(made, records)

    def test_deep_nesting_comes_back_or_is_refused(self, bench: Bench) -> None:
        deep: Any = "leaf"
        for n in range(60):
            deep = {"k": deep} if n % 2 else [deep]
        made = bench.collection()
        bench.keep_or_refuse(made, _with_values(bench, made, [deep]))

    def test_documents_come_back_or_are_refused(self, bench: Bench) -> None:
        made = bench.collection()
        ordinary = bench.records(made, len(DOCUMENTS) + 1)
        records = [replace(r, document=d) for r, d in zip(ordinary, DOCUMENTS, strict=False)]
        nul = replace(ordinary[-1], document="a\0b")
        if not bench.target_caps.native_document:
            bench.refuses_records(made, [r for r in records if r.document is not None][:4])
        else:
            if "string_nul" in bench.target_caps.metadata.exact:
                records.append(nul)
            else:
                bench.refuses_records(bench.collection(), [nul])
            bench.put(made, records)
            bench.expect(made, records)


class Ids:
    """Ids and namespaces: two that differ stay two, and each stays what it is."""

    @pytest.mark.parametrize("kind", [k for k in ID_KINDS if k != "position"])
    def test_ids_stay_what_they_are(self, bench: Bench, kind: str) -> None:
        caps = bench.target_caps
        made = bench.collection(id_kind=kind)
        if kind == "composite":
            made = replace(made, key=bench.suite.key_fields())
        if kind not in caps.id_kinds:
            with refused():
                bench.put(made, bench.records(made, 2))
            assert not bench.exists(made.name), "it was created all the same"
            return
        hard = [i for i in _hard_ids(kind) if allowed_id(i, caps) and _int_fits(bench, i, kind)]
        ordinary = bench.records(made, 10 + len(hard))
        records = ordinary[:10] + [replace(r, id=i) for i, r in zip(hard, ordinary[10:], strict=True)]
        records = list({r.key: r for r in records}.values())
        random.Random(7).shuffle(records)
        bench.put(made, records)
        got = bench.expect(made, records, bench.read(made, page_rows=7))
        with bench.reading(made) as (source, _, _):
            if source.capabilities.fetches:
                found = source.fetch([r.key for r in records])
                assert sorted(found.column("id").to_pylist()) == sorted(r.id for r in records)
            if source.capabilities.lists_keys:
                listed = [k for b in source.keys() for k in b.column("id").to_pylist()]
                assert sorted(listed) == sorted(r.id for r in records)
        assert len(got.keys) == len(records)

    def test_forbidden_ids_are_refused(self, bench: Bench) -> None:
        caps = bench.target_caps
        made = bench.collection()
        bad = [i for i in _hard_ids(made.id_kind) if not (allowed_id(i, caps) and _int_fits(bench, i, made.id_kind))]
        if caps.id_max_bytes and made.id_kind == "string":
            bad += ["x" * (caps.id_max_bytes + 1), NFC * (caps.id_max_bytes // 2 + 1)]
        if not bad:
            does_not_apply("every id of this kind is allowed")
        ordinary = bench.records(made, 1)[0]
        bench.refuses_records(made, [replace(ordinary, id=i) for i in bad])

    def test_ids_that_are_not_of_the_kind_are_refused(self, bench: Bench) -> None:
        made = bench.collection()
        wrong = {"int": "x7", "uuid": "7", "int|uuid": "x7"}.get(made.id_kind)
        if wrong is None:
            does_not_apply("any text is an id")
        bench.refuses_records(made, [replace(bench.records(made, 1)[0], id=wrong)])

    def test_the_longest_id_comes_back(self, bench: Bench) -> None:
        if "string" not in bench.target_caps.id_kinds:
            does_not_apply("ids are no text")
        made = bench.collection(id_kind="string")
        size = bench.target_caps.id_max_bytes or 8_000
        # Text that does not compress: an index holds what it is given.
        text = "".join(random.Random(7).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=size))
        records = bench.records(made, 2)
        records[1] = replace(records[1], id=text)
        bench.put(made, records)
        bench.expect(made, records)

    def test_namespaces_keep_equal_ids_apart_or_are_refused(self, bench: Bench) -> None:
        made = bench.collection()
        ordinary = bench.records(made, 2 * len(NAMESPACES))
        records = [replace(r, id=ordinary[n % 2].id, namespace=NAMESPACES[n // 2]) for n, r in enumerate(ordinary)]
        if not bench.target_caps.native_namespace:
            bench.refuses_records(made, [r for r in records if r.namespace == "eu"])
            return
        common = [r for r in records if r.namespace in ("", "eu")]
        plan = bench.plan(made, common)
        with bench.writing(plan) as target:
            target.write(batch_of(common, made), Mark("part-00000-00000.parquet", 0))
            target.finish(plan.passport)
        bench.expect(made, common)
        bench.keep_or_refuse(bench.collection(), records)


def _nested(container: str, leaf: Any) -> Any:
    if container == "list":
        return [leaf]
    return {"k": leaf} if container == "object" else {"a": [{"b": [leaf, "x"]}]}


def _hard_ids(kind: str) -> list[str]:
    if kind == "int":
        return [str(i) for i in HARD_INT_IDS]
    if kind == "uuid":
        return list(HARD_UUID_IDS)
    if kind == "int|uuid":
        return [str(i) for i in HARD_INT_IDS] + list(HARD_UUID_IDS)
    if kind == "tagged":
        return [
            "int:7",
            "string:7",
            "string:007",
            "string:int:7",
            f"string:{HARD_UUID_IDS[3]}",
            f"uuid:{HARD_UUID_IDS[3]}",
        ]
    if kind == "composite":
        return [
            canonical.dumps(list(key)) for key in (("a", 1), ("a", 10), ("1", 1), ("", 0), ("\u00e9", -5), ('"', 2))
        ]
    return list(HARD_STRING_IDS)


def _int_fits(bench: Bench, text: str, kind: str) -> bool:
    caps = bench.target_caps
    if kind not in ("int", "int|uuid") or not text.lstrip("-").isdecimal():
        return True
    return caps.id_int_min <= int(text) <= caps.id_int_max


def _with_values(bench: Bench, collection: Collection, values: list[Any]) -> list[Record]:
    return _with_metadata(bench, collection, [{"v": v} for v in values])


def _with_metadata(bench: Bench, collection: Collection, metadata: list[dict[str, Any]]) -> list[Record]:
    ordinary = bench.records(collection, len(metadata))
    return [replace(r, metadata=m, document=None) for r, m in zip(ordinary, metadata, strict=True)]
