"""Chroma clients: how they are opened and closed, and what their errors mean.

Facts from chromadb 1.5.9: ``api/shared_system_client.py`` (clients of one path share one system, counted),
``config.py`` (settings also come from ``.env`` and the environment); what is amiss with its HTTP side is mended in
``api``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ...errors import (
    AuthenticationFailed,
    IntegrityError,
    Locked,
    NotFound,
    NotRepresentable,
    OutOfResources,
    Throttled,
    Unavailable,
    Unreachable,
    UsageError,
    VecportError,
)
from ..address import Place
from ..kit import errors, http, places
from ..kit.errors import Rule
from ..report import UNHEARD
from . import folder

CLOUD: Final = "trychroma.com"
CLOUD_ROWS: Final = 300
"""Records that Chroma Cloud takes or gives in one request (docs.trychroma.com/cloud/quotas-limits)."""
DEFAULT_TENANT: Final = "default_tenant"
DEFAULT_DATABASE: Final = "default_database"
CREATE_OPTION: Final = "create-database"

NOT_FOUND: Final = ("NotFoundError", "InvalidCollectionException")


class VectorMissing(IntegrityError):
    """A record that was asked for has metadata and no vector: it is being deleted, or the index has lost it."""


_KEY_HELP: Final = "put a valid key into the environment: CHROMA_API_KEY; and check the options tenant and database"
#: What chromadb's exceptions mean: by what the engine says, by their names, and then as any HTTP client's.
_RULES: Final = (
    Rule(AuthenticationFailed, "{where} refused the api key", next=_KEY_HELP, codes=("401", "403")),
    Rule(AuthenticationFailed, "{where} refused the api key", next=_KEY_HELP,
         names=("ChromaAuthError", "AuthorizationError")),
    Rule(IntegrityError, "the index of a collection in {where} cannot be read", text="hnsw segment reader",
         next="its files are damaged: restore the folder from a backup"),
    # A record has metadata and no vector: the index has lost it, or it is being deleted.
    Rule(VectorMissing, "{where} has a record without its vector", text="Error finding id|Error getting embedding",
         next="if an application is deleting records, stop it; otherwise the index of the collection is damaged"),
    Rule(Throttled, "{where} asks for fewer requests", names=("RateLimitError",),
         next="run the same command again later, or with a lower --max-rps"),
    Rule(Unreachable, "{where} does not answer", text="^Could not connect to a Chroma server", next=errors.RUNS),
    Rule(NotFound, "{where}: not found", names=NOT_FOUND, next="vecport ls shows what is there"),
    Rule(NotRepresentable, "{where}: the quota does not allow it", names=("QuotaError",)),
    Rule(Locked, "{where} is locked", text="database is locked", next="stop the application that holds it"),
    *errors.HTTP,
)  # fmt: skip
#: Behind them, what a server's client raises over an answer that is not Chroma's, and what is wrong with a folder.
_SERVER_RULES: Final = (
    *_RULES,
    Rule(Unavailable, "{where} gave an answer that is not Chroma's", "a proxy may have given it", next=errors.RUNS,
         names=(*errors.STRANGE, "ValueError")),
    Rule(NotRepresentable, "{where} refuses the request"),
)  # fmt: skip
_FOLDER_RULES: Final = (
    Rule(OutOfResources, "{where}: no space is left", text="(?i)disk is full|no space left",
         next="make room and run the same command again"),
    Rule(AuthenticationFailed, "{where} may not be written", text="(?i)readonly database|read-only|permission denied"),
    *_RULES,
    Rule(IntegrityError, "{where}: the database is damaged", 
         text="(?i)malformed|not a database|disk I/O error|os error 5"),
    Rule(VecportError, "{where}: Chroma failed"),
)  # fmt: skip


def is_cloud(place: Place) -> bool:
    """Whether the address is one of Chroma Cloud."""
    return place.host == CLOUD or place.host.endswith("." + CLOUD)


def tenant_and_database(place: Place) -> tuple[str | None, str | None]:
    """The chosen or default tenant and database; None where Chroma Cloud derives them from the key."""
    cloud = is_cloud(place)
    tenant = place.option("tenant") or (None if cloud else DEFAULT_TENANT)
    database = place.option("database") or (None if cloud else DEFAULT_DATABASE)
    return tenant, database


def open_folder(folder: str | os.PathLike[str], place: Place, *, create: bool = False) -> Any:
    """Open a folder with a client of this process; Chroma creates it when it is not there.

    Args:
        folder: what to open: a copy for reading, the place itself for writing.
        place: names tenant and database.
        create: whether tenant and database are created where the user asked for it (``create-database``).

    Returns:
        A ``chromadb.ClientAPI``; to be given to ``close``.
    """
    import chromadb

    path = Path(os.path.realpath(folder))
    with translated(place.text):
        settings = _settings(chroma_api_impl="chromadb.api.rust.RustBindingsAPI")
        return _connected(lambda *names: chromadb.PersistentClient(path, settings, *names), place, create)


def open_server(place: Place, check: Callable[[], None] = UNHEARD.check, *, create: bool = False) -> Any:
    """Connect to a server.

    Args:
        place: names host, tenant and database.
        check: raises when the user wants to stop; every request asks it while it waits.
        create: whether tenant and database are created where the user asked for it (``create-database``).

    Raises:
        UsageError: a key without TLS to another machine, or a user name in the address.
        Unavailable: no answer within seconds.
        AuthenticationFailed: the key was refused.
        NotFound: it is no Chroma server, or tenant or database do not exist.
    """
    import chromadb

    from .api import heard_by

    url, headers = _url(place), _headers(place)
    with translated(place.text):
        _probe(url, headers, check)
        settings = _settings(
            chroma_api_impl="chromadb.api.fastapi.FastAPI",
            chroma_server_host=url,
            chroma_server_http_port=place.port or (443 if place.tls else 8000),
            chroma_overwrite_singleton_tenant_database_access_from_auth=is_cloud(place),
        )
        port = settings.chroma_server_http_port
        with heard_by(check):
            return _connected(
                lambda *names: chromadb.HttpClient(url, port, place.tls, dict(headers), settings, *names), place, create
            )


def creates_database(place: Place) -> bool:
    """Whether the user asked that a tenant or database that is not there be created.

    Raises:
        UsageError: the option says neither yes nor no.
    """
    return places.chosen(place, CREATE_OPTION)


def _connected(connect: Callable[[str, str], Any], place: Place, create: bool) -> Any:
    """Connect to the chosen tenant and database, which are created first where that is asked for."""
    chosen = tenant_and_database(place)
    tenant, database = chosen[0] or DEFAULT_TENANT, chosen[1] or DEFAULT_DATABASE
    try:
        return connect(tenant, database)
    except Exception as e:
        if not (create and creates_database(place) and type(e).__name__ in NOT_FOUND):
            raise
    # Every server and folder has these two.
    client = connect(DEFAULT_TENANT, DEFAULT_DATABASE)
    try:
        for make, names in (("create_tenant", (tenant,)), ("create_database", (database, tenant))):
            try:
                getattr(client._admin_client, make)(*names)
            except Exception as e:
                if "already exists" not in str(e):
                    raise
        client.set_tenant(tenant, database)
    except BaseException:
        client.close()
        raise
    return client


def close(client: Any) -> None:
    """Release a client; the last one of a path releases SQLite, the index files and their threads.

    The engine's threads close their files a few milliseconds after the client has returned; this waits for them, so
    that the folder can be removed or opened by another process.
    """
    if client is None:
        return
    settings = client.get_settings()
    owners = (client, getattr(client, "_admin_client", None))
    sessions = [getattr(getattr(owner, "_server", None), "_session", None) for owner in owners]
    client.close()
    for session in sessions:
        # The client of a server keeps its connections; no other client shares them.
        if session is not None:
            session.close()
    if settings.is_persistent:
        folder.wait_until_released(settings.persist_directory)


def _url(place: Place) -> str:
    scheme, port = ("https", place.port or 443) if place.tls else ("http", place.port or 8000)
    return f"{scheme}://{places.bracketed(place.host)}:{port}" + (
        f"/{place.path.rstrip('/')}" if place.path.strip("/") else ""
    )


def _headers(place: Place) -> Mapping[str, str]:
    if place.user or place.password:
        raise UsageError(
            f"the address of {place.host} names a user",
            why="Chroma takes a key and no user name",
            next="leave the user out, and put the key into the environment: CHROMA_API_KEY",
        )
    places.check_key_travels_safely(place)
    key = places.header(place)
    return {"X-Chroma-Token": key, "Authorization": f"Bearer {key}"} if key else {}


def _settings(**values: Any) -> Any:
    """Settings that neither ``.env`` nor the environment change where it matters; ``environment`` marks them ours."""
    from .api import OwnSettings

    return OwnSettings(
        _env_file=None,
        environment="vecport",
        anonymized_telemetry=False,
        allow_reset=False,
        migrations="apply",
        chroma_client_auth_provider=None,
        chroma_client_auth_credentials=None,
        chroma_otel_collection_endpoint="",
        **{"chroma_server_host": None, "chroma_server_http_port": None, "chroma_server_headers": None, **values},
    )


def _probe(url: str, headers: Mapping[str, str], check: Callable[[], None]) -> None:
    """Ask for a heartbeat, which tells a Chroma server from others."""
    import httpx

    with http.watched(httpx.Client(headers=dict(headers)), check) as client:
        response = client.get(f"{url}/api/v2/heartbeat")
    if response.status_code not in (401, 403, 408, 429) and response.status_code < 500:
        try:
            answer = response.json()
            beats = isinstance(answer, dict) and any("heartbeat" in key for key in answer)
        except ValueError:
            beats = False
        if not beats:
            raise NotFound(
                f"{url} is no Chroma server of version 1",
                why=f"GET /api/v2/heartbeat answered with status {response.status_code} and something else",
                safe="nothing was read or written",
                next="check host and port; servers older than 1.0 have to be upgraded first",
            )
    response.raise_for_status()


@contextmanager
def translated(where: str, safe: str = "nothing was changed") -> Iterator[None]:
    """Turn errors of the client into errors of vecport.

    Args:
        where: the address, as it may be shown.
        safe: what the message says is safe now.
    """
    try:
        with errors.translated(where, _SERVER_RULES if _is_server(where) else _FOLDER_RULES, safe=safe):
            yield
    except BaseException as e:
        # A panic of the Rust engine is no Exception.
        if type(e).__name__ != "PanicException":
            raise
        raise VecportError(f"the Chroma engine of {where} broke down", why=errors.first_line(e), safe=safe) from e


def _is_server(where: str) -> bool:
    """Whether an address names a host: ``chroma:///folder`` names a folder."""
    return where.partition("://")[2][:1] not in ("", "/")
