"""What an import will do, decided before the first write and the same in every worker."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from ..connectors import registry
from ..connectors.contract import Target, TargetPlan
from ..dump.dump import Dump
from ..errors import UsageError
from ..model.capabilities import TargetCapabilities
from ..model.collection import Collection
from ..model.key_mapping import ID_CHOICES, KEEP_REFUSED, NAMESPACE_MODES, unfit_id
from ..model.ledger import Ledger
from ..model.mapping import MappingPlan, plan_mapping
from ..model.profile import Profile
from .sessions import Endpoint

IF_EXISTS = ("create", "append", "replace")
ON_CONFLICT = ("replace", "skip", "fail")


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user chose about how a dump goes into a target; plain values, so that every worker plans the same.

    Attributes:
        if_exists: ``create``, ``append`` or ``replace``.
        on_conflict: ``replace``, ``skip`` or ``fail``.
        namespaces: ``field``, ``prefix``, ``split`` or ``refuse``; None for ``field`` where keys stay distinct.
        settings: the ``--set`` choices.
        vectors: names of vectors in the target by their names in the dump, where they shall differ.
        ids: ``keep`` or ``hash``; None for ``keep`` where they fit.
    """

    if_exists: str = "create"
    on_conflict: str = "replace"
    namespaces: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    vectors: Mapping[str, str] = field(default_factory=dict)
    ids: str | None = None

    def __post_init__(self) -> None:
        for option, value, known in (
            ("--if-exists", self.if_exists, IF_EXISTS),
            ("--on-conflict", self.on_conflict, ON_CONFLICT),
            ("--namespaces", self.namespaces, (None, *NAMESPACE_MODES)),
            ("--ids", self.ids, (None, *ID_CHOICES)),
        ):
            if value not in known:
                raise UsageError(f"{option} {value} is not known", next=f"one of: {', '.join(filter(None, known))}")

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "settings": dict(self.settings), "vectors": dict(self.vectors)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Choices:
        """Inverse of ``to_json``."""
        return cls(**data)


DEFAULT = Choices()


def _for_mapping(setting: str) -> bool:
    """Whether the mapping takes a setting; all others go to the connector."""
    return setting == "metric" or setting.startswith("metric.")


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """Mapping, ledger and target plan of one import."""

    mapping: MappingPlan
    ledger: Ledger
    target: TargetPlan


@dataclass(frozen=True, slots=True)
class Cargo:
    """What is known of the records that go into a target.

    Attributes:
        collection: their schema.
        profile: what is in them.
        rows: how many they are.
        identity: of the dump, ``""`` where there is none yet.
        system: the connector that they were read by.
        namespace: of all of them, where each namespace goes into a collection of its own.
        ids: columns of their ids, for an example in a refusal; None where they cannot be read again.
    """

    collection: Collection
    profile: Profile
    rows: int
    identity: str
    system: str
    namespace: str | None = None
    ids: Callable[[], Iterable[pa.Array]] | None = None


def cargo_of(dump: Dump) -> Cargo:
    """All that a manifest says. A part has the profile of its whole dump, so that all parts are made alike."""
    m = dump.whole.manifest
    system = str(m.source.get("system", ""))
    return Cargo(dump.collection, dump.whole.profile, dump.rows, str(m.identity), system, dump.namespace,
                 lambda: (batch.column("id") for batch in dump.keys(("id",))))  # fmt: skip


def capabilities_of(connector: str) -> TargetCapabilities:
    """A connector's capabilities as a target; raises ``UsageError`` when it cannot be written."""
    found = registry.get(connector)
    if found.target is None:
        raise UsageError(f"{found.info.title} cannot be written by vecport")
    return found.target.capabilities


def make_plan(
    cargo: Dump | Cargo,
    target: Endpoint,
    *,
    import_id: str,
    choices: Choices = DEFAULT,
    resume: bool = False,
    nonce: str = "",
    session: Target | None = None,
) -> ImportPlan:
    """Decide how records go into a target. Reads a manifest at most.

    Args:
        cargo: an opened dump, or what is known of the records.
        target: where it goes.
        import_id: names the import; the same again after a kill.
        choices: the user's.
        resume: this import was begun before.
        nonce: drawn when it began.
        session: an open target, whose capabilities may be finer than its class's.

    Raises:
        UsageError: a choice that the target does not offer.
        NotRepresentable: more vectors than the target holds.
    """
    given = dict(choices.settings)
    cargo = cargo if isinstance(cargo, Cargo) else cargo_of(cargo)
    caps = session.capabilities if session is not None else capabilities_of(target.connector)
    mapping, ledger = plan_mapping(
        cargo.collection, cargo.profile, caps,
        name=target.collection, rules=target.connector, identity=cargo.identity, rows=cargo.rows, import_id=import_id,
        settings=given, namespaces=choices.namespaces, one_namespace=cargo.namespace, vector_names=choices.vectors,
        ids=choices.ids,
    )  # fmt: skip
    if nonce:
        mapping = replace(mapping, passport=replace(mapping.passport, nonce=nonce))
    _name_unfit(ledger, cargo, caps)
    _check_offered("--if-exists", choices.if_exists, caps.if_exists, target)
    _check_offered("--on-conflict", choices.on_conflict, caps.on_conflict, target)
    plan = TargetPlan(
        collection=mapping.target,
        rows=cargo.rows,
        if_exists=choices.if_exists,
        resume=resume,
        passport=mapping.passport.to_json() if caps.passport else {},
        id_profile=cargo.profile.ids,
        settings={k: v for k, v in given.items() if not _for_mapping(k)},
        document="document" if mapping.native_document and cargo.profile.documents.get("count") else None,
        metadata_keys=tuple(cargo.profile.metadata),
        namespaces=_namespaces(cargo, caps),
        import_id=import_id,
        nonce=nonce,
        native=cargo.collection.native if cargo.system == target.connector else {},
        on_conflict=choices.on_conflict,
    )
    return ImportPlan(mapping, ledger, plan)


def _namespaces(cargo: Cargo, caps: TargetCapabilities) -> tuple[str, ...]:
    """Those that a target with namespaces of its own gets."""
    if not caps.native_namespace or cargo.namespace is not None:
        return ()
    return tuple(sorted(ns for ns, count in cargo.profile.namespaces.items() if count))


def _name_unfit(ledger: Ledger, cargo: Cargo, caps: TargetCapabilities) -> None:
    """Put an example into the refusal of ids that cannot be kept."""
    refused = [e for e in ledger.entries if e.why == KEEP_REFUSED]
    if not refused or cargo.ids is None:
        return
    kind = next((k for k in ("int|uuid", "uuid", "int") if k in caps.id_kinds), "string")
    unfit = next((one for column in cargo.ids() if (one := unfit_id(column, kind, caps)) is not None), None)
    if unfit is not None:
        refused[0].example, refused[0].why = unfit[:80], f"{KEEP_REFUSED}, as {unfit[:80]!r}; --ids hash is for such"


def _check_offered(option: str, value: str, offered: frozenset[str], target: Endpoint) -> None:
    if value not in offered:
        raise UsageError(
            f"{option} {value}: {registry.get(target.connector).info.title} does not offer it",
            next=f"one of: {', '.join(sorted(offered))}",
        )


def import_id_for(dump: Dump, target: Endpoint, *more: str) -> str:
    """The name of the import of this dump into this target: the same for the same command.

    Args:
        dump: the whole one, or a part of it.
        target: where it goes.
        more: what else tells it from other imports of the same dump into the same collection.
    """
    m = dump.whole.manifest
    part = () if dump.namespace is None else ("namespace", dump.namespace)
    text = "\n".join((m.dump_id, str(m.identity), target.connector, target.text, *part, *more))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
