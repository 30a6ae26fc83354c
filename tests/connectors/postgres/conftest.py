"""What tests of writing Postgres stand on."""

from __future__ import annotations

import pytest

from vecport.connectors.postgres.catalog import ACK_TABLE

from .support import run


@pytest.fixture
def no_acknowledgements() -> None:
    """The test sees its own acknowledgements alone."""
    run(f"DROP TABLE IF EXISTS {ACK_TABLE}")
