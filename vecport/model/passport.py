"""The passport: facts about the whole collection that a target keeps in its own metadata, so that nothing is forgotten.

A passport says how the records in a target were made from the records of a dump; ``model.restore`` reads it to make
the same records again. It names no address, no host and no secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import NotRepresentable
from . import ids as idlib
from .collection import Collection, collection_from_json, collection_to_json

FORMAT = 1
#: The reserved metadata key that carries the originals of encoded values, as the JSON text of an object.
ORIGINALS = "_vecport"
ID_MODES = ("same", "hashed")
STATES = ("loading", "complete")


@dataclass(frozen=True, slots=True)
class Passport:
    """How the records of a target were made.

    Attributes:
        collection: the schema of the dump.
        ids: ``same`` (the text is the id) or ``hashed`` (``ids.stand_in``; the id is among the originals).
        vectors: the dump's vector name by the target's vector name.
        document: metadata key that holds the document, None where the target has a place for documents.
        namespace: metadata key that holds the namespace, None where the target has namespaces or none are used.
        rules: name of the target's connector, whose metadata rules tell projections from edits.
        rules_version: of those rules (``capabilities.MetadataRules.version``).
        identity: of the dump.
        rows: of the dump.
        import_id: names the import that wrote it.
        state: ``loading`` until the import has finished.
        prefix: what stands between the namespace and the id in the target's ids, None where ids have no prefix. It
            is in no namespace's name, so the first one ends the namespace.
        one_namespace: the namespace of every record of the dump that is here, where each namespace has a collection of
            its own; None where records tell their namespaces themselves.
        nonce: drawn by the import when it began; empty in passports of releases that drew none.
    """

    collection: Collection
    ids: str = "same"
    vectors: Mapping[str, str] = field(default_factory=dict)
    document: str | None = None
    namespace: str | None = None
    rules: str = ""
    identity: str = ""
    rows: int = 0
    import_id: str = ""
    state: str = "loading"
    prefix: str | None = None
    one_namespace: str | None = None
    rules_version: int = 1
    nonce: str = ""

    def to_json(self, state: str | None = None) -> dict[str, Any]:
        """Plain data, with another state when one is given."""
        return {
            "vecport": FORMAT,
            "collection": collection_to_json(self.collection) | {"native": {}},
            "ids": self.ids,
            "vectors": dict(self.vectors),
            "document": self.document,
            "namespace": self.namespace,
            "rules": self.rules,
            "identity": self.identity,
            "rows": self.rows,
            "import_id": self.import_id,
            "state": state or self.state,
            "prefix": self.prefix,
            "one_namespace": self.one_namespace,
            "rules_version": self.rules_version,
            **({"nonce": self.nonce} if self.nonce else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Passport:
        """Inverse of ``to_json``; raises ``NotRepresentable`` for a passport of a later format or a broken one."""
        try:
            if data["vecport"] != FORMAT or data["ids"] not in ID_MODES or data["state"] not in STATES:
                raise ValueError("unknown format")
            prefix = data.get("prefix")
            if prefix is not None and (not isinstance(prefix, str) or not prefix or data["ids"] != "same"):
                raise ValueError("a prefix that cannot be")
            one = data.get("one_namespace")
            if one is not None and not (isinstance(one, str) and prefix is None and data["namespace"] is None):
                raise ValueError("a namespace of all records that cannot be")
            # Passports of 0.1 say no version: theirs are the first rules.
            version = data.get("rules_version", 1)
            if type(version) is not int or version < 1:
                raise ValueError("a version of rules that cannot be")
            nonce = data.get("nonce", "")
            if not isinstance(nonce, str):
                raise ValueError("a nonce that cannot be")
            return cls(
                collection=collection_from_json(data["collection"]),
                ids=data["ids"],
                vectors=dict(data["vectors"]),
                document=data["document"],
                namespace=data["namespace"],
                rules=str(data["rules"]),
                identity=str(data["identity"]),
                rows=int(data["rows"]),
                import_id=str(data["import_id"]),
                state=data["state"],
                prefix=prefix,
                one_namespace=one,
                rules_version=version,
                nonce=nonce,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise NotRepresentable(
                "the collection's passport cannot be read", f"{type(e).__name__}: {e}", "nothing was changed",
                "take the collection as it is: --ignore-passport",
            ) from e  # fmt: skip


def target_keys(
    passport: Passport | None, record_ids: pa.Array, namespaces: pa.Array, *, strangers: bool = False
) -> tuple[pa.Array, pa.Array]:
    """The ids and namespaces under which a target holds the records of a dump.

    Args:
        passport: of the target, None where records stand under their own keys.
        record_ids: of the dump, text.
        namespaces: of the dump, text.
        strangers: there may be ids that somebody else added to the target: those of another kind than the passport's
            stand under themselves.

    Returns:
        Two columns of the same length. Namespaces are empty where the passport moves them elsewhere; where the target
        holds one namespace, those of other records stay as they are.

    Raises:
        NotRepresentable: a namespace holds the separator, so that the way back would be ambiguous.
    """
    if passport is None:
        return record_ids, namespaces
    if passport.prefix is not None:
        if pc.any(pc.match_substring(namespaces, passport.prefix)).as_py():
            raise NotRepresentable(
                f"a namespace holds {passport.prefix!r}, which shall end namespaces in ids",
                "the dump's profile does not name that namespace", "nothing of its batch was written",
                "check the dump: vecport validate DUMP --level deep",
            )  # fmt: skip
        record_ids = pc.binary_join_element_wise(namespaces, record_ids, passport.prefix)
    elif passport.ids == "hashed":
        record_ids = idlib.stand_ins(record_ids, namespaces, passport.collection.id_kind, strangers=strangers)
    if passport.one_namespace is not None:
        namespaces = pc.if_else(pc.equal(namespaces, passport.one_namespace), "", namespaces)
    if passport.prefix is not None or passport.namespace is not None:
        namespaces = pa.repeat(pa.scalar("", pa.string()), len(record_ids))
    return record_ids, namespaces
