"""vecport moves vector collections between databases through a file.

Each command of the command line has its function here, with the same parameters and a typed result::

    import vecport

    vecport.export("qdrant://localhost:6333", "./docs.vecport", collection="docs")
    result = vecport.verify("./docs.vecport", "qdrant://localhost:6333", collection="docs")

Names are loaded when they are used: ``import vecport`` loads no database client, no pyarrow and no DuckDB.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import errors
from .errors import VecportError

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from .dump.dump import Dump, open_dump
    from .limits import Limits
    from .model.ids import stand_in
    from .operations.connectors import ConnectorsResult
    from .operations.connectors import connectors as list_connectors
    from .operations.copy import CopyResult, copy
    from .operations.diff import DiffResult, diff
    from .operations.export import ExportResult, export
    from .operations.import_ import ImportResult, import_
    from .operations.inspect import InspectResult, inspect
    from .operations.ls import LsResult, ls
    from .operations.plan import PlanResult, plan
    from .operations.progress import Progress, Stop
    from .operations.validate import ValidateResult, validate
    from .operations.verify import VerifyResult, verify

#: Public name -> module and name there. ``connectors`` itself is the package of the connectors.
_LAZY = {
    "ConnectorsResult": ("operations.connectors", "ConnectorsResult"),
    "CopyResult": ("operations.copy", "CopyResult"),
    "DiffResult": ("operations.diff", "DiffResult"),
    "Dump": ("dump.dump", "Dump"),
    "ExportResult": ("operations.export", "ExportResult"),
    "ImportResult": ("operations.import_", "ImportResult"),
    "InspectResult": ("operations.inspect", "InspectResult"),
    "Limits": ("limits", "Limits"),
    "LsResult": ("operations.ls", "LsResult"),
    "PlanResult": ("operations.plan", "PlanResult"),
    "Progress": ("operations.progress", "Progress"),
    "Stop": ("operations.progress", "Stop"),
    "ValidateResult": ("operations.validate", "ValidateResult"),
    "VerifyResult": ("operations.verify", "VerifyResult"),
    "copy": ("operations.copy", "copy"),
    "diff": ("operations.diff", "diff"),
    "export": ("operations.export", "export"),
    "import_": ("operations.import_", "import_"),
    "inspect": ("operations.inspect", "inspect"),
    "list_connectors": ("operations.connectors", "connectors"),
    "ls": ("operations.ls", "ls"),
    "open_dump": ("dump.dump", "open_dump"),
    "plan": ("operations.plan", "plan"),
    "stand_in": ("model.ids", "stand_in"),
    "validate": ("operations.validate", "validate"),
    "verify": ("operations.verify", "verify"),
}

__all__ = [
    "ConnectorsResult",
    "CopyResult",
    "DiffResult",
    "Dump",
    "ExportResult",
    "ImportResult",
    "InspectResult",
    "Limits",
    "LsResult",
    "PlanResult",
    "Progress",
    "Stop",
    "ValidateResult",
    "VecportError",
    "VerifyResult",
    "__version__",
    "copy",
    "diff",
    "errors",
    "export",
    "import_",
    "inspect",
    "list_connectors",
    "ls",
    "open_dump",
    "plan",
    "stand_in",
    "validate",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    try:
        module, attribute = _LAZY[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
