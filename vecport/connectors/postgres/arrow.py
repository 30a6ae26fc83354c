"""pyarrow without its stubs, which know neither literals as arguments nor casts as arrays of the new type."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import pyarrow
import pyarrow.compute

pa: Final[Any] = pyarrow
pc: Final[Any] = pyarrow.compute
Array: TypeAlias = Any
Batch: TypeAlias = Any
