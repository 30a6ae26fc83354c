"""What an import asks of a target: plain values that can go to another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...model.collection import Collection
from .info import Json


@dataclass(frozen=True, slots=True)
class Mark:
    """Names a row group of the dump: the unit that a target acknowledges."""

    shard: str
    group: int


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """What ``prepare`` shall set up; plain values, so that it can go to a worker process.

    Attributes:
        collection: the collection to create, already mapped: names, id kind, vectors and fields that this target
            can hold.
        rows: records that will be written.
        if_exists: ``create`` (the collection must not exist or must be empty), ``append`` or ``replace``.
        resume: this import was begun before, and what is there is of it; what it created is kept.
        passport: to be stored in the collection's own metadata.
        id_profile: what is known of the ids: ``{"int": n, "uuid": n, "string": n, "longest_bytes": n,
            "min_int": int|None, "max_int": int|None}``.
        settings: ``--set key=value`` choices of what is created.
        document: the target's name for the document, where it has a place for it; None when no record has one.
        import_id: names this import; the same again after a kill.
        nonce: drawn when this import began, and the same when it is gone on with. ``prepare`` stores it in the target
            (with the passport, or in a place of its own), ``Target.begun`` finds it there, and what the target has
            acknowledged under another one it forgets. Empty where nobody asks for it.
        native: settings that the dump keeps of a collection of this same database; empty when it came from another.
            They come from a stranger: a connector takes what it knows, checks every value, and what the user set
            goes before them.
        on_conflict: what becomes of a record that is there already: ``replace`` it as a whole, ``skip`` the dump's,
            or ``fail`` with its id. One that has the dump's own content is no conflict: it may come from this import.
        metadata_keys: the keys of the records' metadata, as far as they are known.
        namespaces: those that the records have, in order, where the target has namespaces of its own; ``prepare``
            creates what is not there.
    """

    collection: Collection
    rows: int
    if_exists: str = "create"
    resume: bool = False
    passport: Mapping[str, Json] = field(default_factory=dict)
    id_profile: Mapping[str, Json] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    document: str | None = None
    import_id: str = ""
    native: Mapping[str, Json] = field(default_factory=dict)
    on_conflict: str = "replace"
    metadata_keys: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    nonce: str = ""
