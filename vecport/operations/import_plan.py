"""What an import will do, decided before the first write and the same in every worker."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from ..connectors import registry
from ..connectors.base import Target, TargetPlan
from ..dump.dump import Dump
from ..errors import UsageError
from ..model.capabilities import TargetCapabilities
from ..model.ledger import Ledger
from ..model.mapping import MappingPlan, plan_mapping
from .sessions import Endpoint


def _for_mapping(setting: str) -> bool:
    """Whether the mapping takes a setting; all others go to the connector."""
    return setting == "metric" or setting.startswith("metric.")


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """Mapping, ledger and target plan of one import."""

    mapping: MappingPlan
    ledger: Ledger
    target: TargetPlan


def capabilities_of(connector: str) -> TargetCapabilities:
    """A connector's capabilities as a target; raises ``UsageError`` when it cannot be written."""
    found = registry.get(connector)
    if found.target is None:
        raise UsageError(f"{found.info.title} cannot be written by vecport")
    return found.target.capabilities


def make_plan(
    dump: Dump,
    target: Endpoint,
    *,
    import_id: str,
    if_exists: str = "create",
    resume: bool = False,
    settings: Mapping[str, str] | None = None,
    session: Target | None = None,
    on_conflict: str = "replace",
) -> ImportPlan:
    """Decide how a dump goes into a target. Reads the manifest only.

    Args:
        dump: an opened dump.
        target: where it goes.
        import_id: names the import; the same again after a kill.
        if_exists: ``create``, ``append`` or ``replace``.
        resume: this import was begun before.
        settings: the user's ``--set`` choices.
        on_conflict: ``replace``, ``skip`` or ``fail``.
        session: an open target, whose capabilities may be finer than its class's.
    """
    given = dict(settings or {})
    profile = dump.manifest.total_profile()
    caps = session.capabilities if session is not None else capabilities_of(target.connector)
    mapping, ledger = plan_mapping(
        dump.collection, profile, caps,
        name=target.collection, rules=target.connector, identity=str(dump.manifest.identity), rows=dump.manifest.rows,
        import_id=import_id, settings=given,
    )  # fmt: skip
    if if_exists not in caps.if_exists:
        raise UsageError(
            f"--if-exists {if_exists}: {registry.get(target.connector).info.title} does not offer it",
            next=f"one of: {', '.join(sorted(caps.if_exists))}",
        )
    if on_conflict not in caps.on_conflict:
        raise UsageError(
            f"--on-conflict {on_conflict}: {registry.get(target.connector).info.title} does not offer it",
            next=f"one of: {', '.join(sorted(caps.on_conflict))}",
        )
    plan = TargetPlan(
        collection=mapping.target,
        rows=dump.manifest.rows,
        if_exists=if_exists,
        resume=resume,
        passport=mapping.passport.to_json() if caps.passport else {},
        id_profile=profile.ids,
        settings={k: v for k, v in given.items() if not _for_mapping(k)},
        document="document" if mapping.native_document and profile.documents.get("count") else None,
        import_id=import_id,
        native=dump.collection.native if dump.manifest.source.get("system") == target.connector else {},
        on_conflict=on_conflict,
    )
    return ImportPlan(mapping, ledger, plan)


def import_id_for(dump: Dump, target: Endpoint) -> str:
    """The name of the import of this dump into this target: the same for the same command."""
    text = "\n".join((dump.manifest.dump_id, str(dump.manifest.identity), target.connector, target.text))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
