"""What may be done with a Chroma folder, asked of its files; a server does not tell what a key may do."""

from __future__ import annotations

from pathlib import Path

from .. import access
from ..contract import Permission

#: Of a server: it has no request for it, and providers of authorisation are programs of their own.
SERVER = Permission("create the collection and write", None, "a Chroma server does not tell what a client may do")


def to_read(path: Path) -> tuple[Permission, ...]:
    """Copying the database; that nothing changes meanwhile is seen by looking at all indexes."""
    return (access.to_read(access.tree(path)),) if path.is_dir() else ()


def to_write(path: Path) -> tuple[Permission, ...]:
    """Changing the database and the index of one of its collections, or creating the folder."""
    if not path.is_dir():
        return (access.to_create(path),) if path.parent.is_dir() and not path.exists() else ()
    below = access.tree(path)
    read = access.to_read(below)
    if not read.allowed:
        return (read,)
    found = access.to_change(p for p in below if p.is_dir() or p.parent == path)
    index = access.to_change(below)
    if found.allowed and not index.allowed:
        # Which collection an index belongs to, the database alone says.
        found = Permission(found.what, None, f"{index.why}; it may be another collection's", index.grant)
    return (found,)
