"""Assertions in modules that tests share say what they compared, as those in tests do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(*(f"{__package__}.{name}.support" for name in ("chroma", "jsonl", "postgres", "qdrant")))
