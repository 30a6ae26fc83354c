"""How ids and namespaces go into a target: as they are, as text, as stand-ins, in a field or before the id."""

from __future__ import annotations

import re
from collections.abc import Mapping as MappingType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UsageError
from . import ids as idlib
from .capabilities import TargetCapabilities
from .collection import Collection
from .ledger import Ledger
from .passport import ORIGINALS
from .profile import Profile

NAMESPACE_KEY = "namespace"
#: What may become of ids: as they are, or UUIDs (version 5) that stand for them.
ID_CHOICES = ("keep", "hash")
#: What may become of namespaces in a target that has none.
NAMESPACE_MODES = ("field", "prefix", "split", "refuse")
#: Candidates for what stands between a namespace and an id; the first that is in no namespace is taken.
_SEPARATORS = (":", "/", "|", "~", "::", "//", "||", "\u241f")


def map_ids(
    source: Collection, profile: Profile, caps: TargetCapabilities, ledger: Ledger, choice: str | None = None,
    *, alone: bool = True,
) -> tuple[str, str]:  # fmt: skip
    """Choose the target's id kind and whether ids are hashed.

    Args:
        source: the dump's collection.
        profile: of the dump.
        caps: of the target.
        ledger: is told.
        choice: one of ID_CHOICES, None for ``keep`` where the ids fit.
        alone: an id tells its record without a namespace beside it. Where it may not, ids that are hashed with their
            namespace are hashed, unless ``keep`` was chosen.

    Returns:
        The kind, and ``same`` or ``hashed``.
    """
    stats, rows = profile.ids, profile.rows
    kind = source.id_kind
    if choice == "hash":
        return _hashed(caps, rows, ledger, chosen=True)
    if kind == "composite" and "composite" in caps.id_kinds and source.key:
        ledger.add("id", "exact", rows)
        return kind, "same"
    kinds = {k for k in ("int", "uuid", "string") if stats.get(k)} or {"string"}
    for candidate in ("int", "uuid", "int|uuid"):
        # A text id that merely looks like a number keeps its kind: "7" and 7 are different ids.
        declared = kind in (candidate, "int|uuid", "position") or (candidate == "int|uuid" and kind in ("int", "uuid"))
        if declared and candidate in caps.id_kinds and kinds <= set(candidate.split("|")) and _ints_fit(stats, caps):
            ledger.add("id", "exact", rows)
            return candidate, "same"
    if caps.id_text and _text_fits(stats, caps):
        ledger.add("id", "exact" if kind in ("string", "tagged") else "encoded", rows,
                   "" if kind in ("string", "tagged") else f"ids of kind {kind} are stored as text")  # fmt: skip
        return "string", "same"
    if alone or choice == "keep":
        # Text ids that are spelled as the target spells its own are held as themselves; the passport keeps the kind.
        counted = sum(stats.get(k) or 0 for k in ("int", "uuid", "string")) == rows
        for candidate in ("int", "uuid", "int|uuid"):
            fits = candidate in caps.id_kinds and kinds <= set(candidate.split("|")) and _ints_fit(stats, caps)
            if kind == "string" and counted and fits:
                ledger.add("id", "exact", rows)
                return candidate, "same"
    if choice == "keep":
        ledger.add("id", "rejected", rows, KEEP_REFUSED, remedy="leave --ids out: such ids are hashed then")
        return "string", "same"
    return _hashed(caps, rows, ledger)


#: Every target that holds integers holds those of so many digits.
_SURE_DIGITS = 9
KEEP_REFUSED = "--ids keep: the target cannot hold these ids as they are"


def _hashed(caps: TargetCapabilities, rows: int, ledger: Ledger, *, chosen: bool = False) -> tuple[str, str]:
    kinds = ("uuid", "int|uuid", "string") if chosen else ("uuid", "int|uuid")
    for candidate in kinds:
        if candidate in caps.id_kinds:
            ledger.add("id", "encoded", rows, f"stored as UUIDv5, the original in the key {ORIGINALS!r}")
            return candidate, "hashed"
    ledger.add("id", "rejected", rows, "the target cannot hold these ids")
    return "string", "same"


def unfit_id(ids: pa.Array, kind: str, caps: TargetCapabilities) -> str | None:
    """The first of some ids that a target cannot hold as one of a kind; None when it holds all of them.

    Args:
        ids: text.
        kind: ``int``, ``uuid`` or ``int|uuid``; all others hold any text.
        caps: of the target.
    """
    if kind not in ("int", "uuid", "int|uuid"):
        return None
    wrong = idlib.misfits(ids, kind)
    if kind != "uuid":
        # Short ones without a sign fit any target; only the others are read as numbers.
        ints, _ = idlib.forms(ids)
        doubtful = pc.or_(pc.greater(pc.binary_length(ids), _SURE_DIGITS), pc.starts_with(ids, "-"))
        for text in ids.filter(pc.and_(ints, doubtful)).to_pylist():
            if not caps.id_int_min <= idlib.to_int(text) <= caps.id_int_max:
                return str(text)
    return str(ids.filter(wrong)[0].as_py()) if pc.any(wrong).as_py() else None


def _ints_fit(stats: MappingType[str, Any], caps: TargetCapabilities) -> bool:
    if not stats.get("int"):
        return True
    return bool(caps.id_int_min <= stats["min_int"] and stats["max_int"] <= caps.id_int_max)


def _text_fits(stats: MappingType[str, Any], caps: TargetCapabilities) -> bool:
    if caps.id_max_bytes and stats.get("longest_bytes", 0) > caps.id_max_bytes:
        return False
    if caps.id_forbidden:
        probes = {"nul": "a\0", "empty": "", "non_ascii": "é"}
        for name, probe in probes.items():
            if stats.get(name) and re.search(caps.id_forbidden, probe):
                return False
    return True


def map_namespaces(
    profile: Profile, caps: TargetCapabilities, mode: str | None, ledger: Ledger
) -> tuple[str | None, str | None]:
    """Decide what becomes of namespaces.

    Args:
        profile: of the dump; names its namespaces.
        caps: of the target.
        mode: one of NAMESPACE_MODES, None for ``field``.
        ledger: is told.

    Returns:
        The metadata key of namespaces, and what stands between a namespace and an id; each None where it is not used.

    Raises:
        UsageError: a mode that the target or these namespaces do not allow.
    """
    if mode == "split":
        named = profile.rows - profile.namespaces.get("", 0)
        if named and caps.passport:
            ledger.add("namespace", "encoded", named, "one collection for each, whose passport keeps the name")
        elif named:
            ledger.add("namespace", "lossy", named, "one collection for each; the target has no room for the name")
        return None, None
    if set(profile.namespaces) <= {""}:
        return None, None
    if caps.native_namespace:
        if mode in ("field", "prefix"):
            raise UsageError(f"--namespaces {mode}: this target has namespaces of its own", "they are kept as they are",
                             "nothing was written", "leave --namespaces out")  # fmt: skip
        if mode is None:
            return None, None
    if mode == "refuse":
        named = profile.rows - profile.namespaces.get("", 0)
        ledger.add("namespace", "rejected", named, "--namespaces refuse: only the default namespace is taken")
        return None, None
    if mode == "prefix":
        prefix = next((s for s in _SEPARATORS if not any(s in ns for ns in profile.namespaces)), None)
        if prefix is None:
            raise UsageError(
                "--namespaces prefix: every separator stands in a namespace's name", f"tried: {_SEPARATORS}",
                "nothing was written", "use --namespaces field",
            )  # fmt: skip
        ledger.add("namespace", "encoded", profile.rows, f"stands before the id, as NAMESPACE{prefix}ID")
        return None, prefix
    key = free_key(NAMESPACE_KEY, profile)
    ledger.add("namespace", "encoded", profile.rows, f"stored under the metadata key {key!r}")
    return key, None


def map_prefixed_ids(prefix: str, profile: Profile, caps: TargetCapabilities, ledger: Ledger) -> tuple[str, str]:
    """Ids that begin with their namespace are text, so the target has to hold any text of that length."""
    longest = max(len(ns.encode("utf-8", "surrogatepass")) for ns in profile.namespaces) + len(prefix.encode())
    stats = {**profile.ids, "longest_bytes": profile.ids.get("longest_bytes", 0) + longest, "empty": 0}
    stats["non_ascii"] = stats.get("non_ascii", 0) or any(not (ns + prefix).isascii() for ns in profile.namespaces)
    stats["nul"] = stats.get("nul", 0) or any("\0" in ns for ns in profile.namespaces)
    if not caps.id_text or not _text_fits(stats, caps):
        raise UsageError(
            "--namespaces prefix: the target cannot hold such ids", "it would have to hold any text as an id",
            "nothing was written", "use --namespaces field",
        )  # fmt: skip
    ledger.add("id", "encoded", profile.rows, f"stored as NAMESPACE{prefix}ID")
    return "string", "same"


def free_key(name: str, profile: Profile) -> str:
    key = name
    while key in profile.metadata:
        key = f"_{key}"
    return key
