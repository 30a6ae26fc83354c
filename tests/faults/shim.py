"""The preloaded library that lets system calls fail: compiled once, and the variables that it reads."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

CALLS = ("write", "fsync", "rename", "open", "read")
_SOURCE = Path(__file__).with_name("shim.c")


def compiled(folder: Path) -> Path:
    """The library, made by the system's C compiler; the test is skipped where there is none."""
    if sys.platform != "linux":
        pytest.skip("libraries are preloaded on Linux only")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler (cc) to make the library that lets system calls fail")
    library = folder / "shim.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"], check=True)
    return library


def variables(
    call: str, under: Path, n: int, error: int = 0, *, always: bool = False, count: Path | None = None
) -> Mapping[str, str]:
    """The variables of a process, started with the library, whose n-th call of a kind beneath a folder fails.

    Args:
        call: one of ``CALLS``; ``rename`` is ``link`` too.
        under: the folder.
        n: which call, from 1; 0 for none.
        error: its errno; 0 kills the process instead.
        always: each one behind it as well.
        count: gets one byte for each call.
    """
    return {
        "VECPORT_SHIM_CALL": call, "VECPORT_SHIM_UNDER": str(under.resolve()), "VECPORT_SHIM_N": str(n),
        "VECPORT_SHIM_ERRNO": str(error),
        **({"VECPORT_SHIM_ALL": "1"} if always else {}),
        **({"VECPORT_SHIM_COUNT": str(count)} if count else {}),
    }  # fmt: skip
