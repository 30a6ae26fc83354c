"""Whether files of this machine may be read and written, asked without opening them.

A plan shows what is found here; sessions ``require`` the same before they begin.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from ..errors import AuthenticationFailed
from .contract import Permission

READ = "read the records"


def to_read(paths: Iterable[Path]) -> Permission:
    """Reading files, and listing folders."""
    return _permission(READ, _first_denied(paths, os.R_OK), "read", "u+rX")


def to_change(paths: Iterable[Path]) -> Permission:
    """Changing files that are there, and what is in folders."""
    return _permission("write to what is there", _first_denied(paths, os.R_OK | os.W_OK), "written", "u+rwX")


def to_create(path: Path) -> Permission:
    """Putting a file or folder into the folder that shall hold it."""
    return _permission(f"create {path.name}", _first_denied([path.parent], os.W_OK), "written", "u+rwX")


def require(permission: Permission, safe: str = "nothing was read or written") -> None:
    """Raise ``AuthenticationFailed`` where a permission is missing."""
    if permission.allowed is False:
        raise AuthenticationFailed(
            permission.why, why=f"this user may not {permission.what}", safe=safe, next=permission.grant
        )


def tree(folder: Path) -> list[Path]:
    """A folder and all that is below it, as far as it can be listed."""
    found = [folder]
    if folder.is_dir() and _may(folder, os.R_OK):
        for entry in sorted(folder.iterdir()):
            found += tree(entry)
    return found


def _may(path: Path, mode: int) -> bool:
    """Root may do everything, but for what lies on a read-only file system."""
    return os.access(path, mode | (os.X_OK if path.is_dir() else 0))


def _first_denied(paths: Iterable[Path], mode: int) -> Path | None:
    return next((path for path in paths if not _may(path, mode)), None)


def _permission(what: str, denied: Path | None, verb: str, mode: str) -> Permission:
    if denied is None:
        return Permission(what, True)
    kind = "folder" if denied.is_dir() else "file"
    grant = f"chmod -R {mode} {shlex.quote(str(denied))}"
    return Permission(what, False, f"the {kind} {denied} may not be {verb}", grant)
