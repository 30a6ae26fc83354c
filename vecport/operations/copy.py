"""Copy: export, import, verify in one go; the dump is kept and makes it resumable."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..dump.journal import Journal
from ..dump.layout import MANIFEST
from ..dump.store import open_store
from ..errors import AlreadyExists, UsageError
from . import split
from .compare.bounds import Tolerance, check_tolerance
from .export import DEFAULT_MEMORY_BYTES, ExportResult, export
from .import_ import ImportResult, import_
from .progress import Progress, Stop
from .sessions import endpoint
from .verify import VerifyResult, verify


@dataclass(frozen=True, slots=True)
class CopyResult:
    """The three results; ``export`` is None when the dump had been finished by an earlier run."""

    export: ExportResult | None
    import_: ImportResult
    verify: VerifyResult
    dump: str
    notes: tuple[str, ...] = ()
    exit_code: int = 0


def copy(
    source: str,
    target: str,
    *,
    dump: str | os.PathLike[str] | None = None,
    collection: str | None = None,
    target_collection: str | None = None,
    namespace: Sequence[str] = (),
    where: str | None = None,
    limit: int | None = None,
    source_options: Mapping[str, str] | None = None,
    target_options: Mapping[str, str] | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    shard_rows: int | None = None,
    encodings: str = "default",
    duplicates: str = "error",
    overwrite: bool = False,
    on_error: str = "fail",
    ignore_passport: bool = False,
    like: str | os.PathLike[str] | None = None,
    take_over: bool = False,
    read_back: bool = False,
    if_exists: str = "create",
    on_conflict: str = "replace",
    namespaces: str | None = None,
    ids: str | None = None,
    settings: Mapping[str, str] | None = None,
    target_config: str | os.PathLike[str] | None = None,
    allow_lossy: Sequence[str] = (),
    strict: bool = False,
    require_snapshot: bool = False,
    tolerance: Tolerance = None,
    limits: Mapping[str, int] | None = None,
    max_rps: float | None = None,
    max_mbps: float | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> CopyResult:
    """Move a collection from one database to another through a dump, and prove it.

    The same call again goes on where an interrupted one stopped: a finished dump is not made again.

    Args:
        source, target: addresses, or ``ADDRESS#collection``.
        dump: where the dump is kept; None for ``<collection>.vecport`` in the current folder.
        collection, target_collection: names; the target takes the source's name when none is given.
        namespace, where, limit, batch_size, shard_rows, encodings, duplicates, on_error, ignore_passport, like,
            take_over, read_back, require_snapshot: as in ``export``.
        overwrite: make the dump again, when there is one.
        source_options, target_options: connector options by name; no secrets.
        workers, memory_bytes: as in ``export`` and ``import_``.
        if_exists, on_conflict, namespaces, ids, settings, target_config, allow_lossy, strict: as in ``import_``.
        tolerance, limits: as in ``verify``.
        max_rps, max_mbps: as in ``export``, for each of the two databases.
        progress, stop: as in ``export``.

    Raises:
        VecportError: with the exit code of its class.
    """
    # It is used last, and wrong from the beginning.
    check_tolerance(tolerance)
    place = endpoint(source, role="source", collection=collection, options=source_options, stop=stop)
    if target == "-":
        raise UsageError("copy cannot write to stdout", "it could not be verified", next="use export and import")
    name = target_collection or (None if "#" in target else place.collection)
    if namespaces == "split":
        split.check_target(endpoint(target, role="target", collection=name, options=target_options, create=True))
    location = dump or f"{re.sub(r'[^A-Za-z0-9._-]+', '_', place.collection)}.vecport"
    store = open_store(location)
    exported = None
    if store.exists(MANIFEST) and Journal(store).run() is None and not overwrite:
        _check_same_source(location, place.connector, place.collection)
        if progress is not None:
            progress.note(f"{store.url} is finished already: it is not made again")
    else:
        exported = export(
            source, location, collection=collection, namespace=namespace, where=where, limit=limit,
            source_options=source_options, batch_size=batch_size, workers=workers, memory_bytes=memory_bytes,
            shard_rows=shard_rows, encodings=encodings, duplicates=duplicates, overwrite=overwrite, on_error=on_error,
            ignore_passport=ignore_passport, like=like, take_over=take_over, read_back=read_back,
            require_snapshot=require_snapshot, max_rps=max_rps, max_mbps=max_mbps, progress=progress, stop=stop,
        )  # fmt: skip
    imported = import_(
        location, target, collection=name, target_options=target_options, workers=workers,
        memory_bytes=memory_bytes, if_exists=if_exists, on_conflict=on_conflict, namespaces=namespaces, ids=ids,
        settings=settings, target_config=target_config,
        allow_lossy=allow_lossy, strict=strict, limits=limits, max_rps=max_rps, max_mbps=max_mbps,
        progress=progress, stop=stop,
    )  # fmt: skip
    verified = verify(
        location, target, collection=name, target_options=target_options, tolerance=tolerance,
        namespaces="split" if namespaces == "split" else None, limits=limits,
        max_rps=max_rps, max_mbps=max_mbps, progress=progress, stop=stop,
    )  # fmt: skip
    code = verified.exit_code or (exported.exit_code if exported else 0)
    return CopyResult(exported, imported, verified, store.url, exit_code=code)


def _check_same_source(location: str | os.PathLike[str], connector: str, collection: str) -> None:
    from ..dump.dump import open_dump

    source = open_dump(location).manifest.source
    if (source.get("system"), source.get("collection")) != (connector, collection):
        raise AlreadyExists(
            f"{os.fspath(location)} is a dump of {source.get('system')} {source.get('collection')}",
            safe="it was not changed", next="name another folder: --dump FOLDER",
        )  # fmt: skip
