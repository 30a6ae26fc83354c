"""Runs a file of SQL in the page's database: ``python sql.py FILE``; the address is in the environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psycopg

if __name__ == "__main__":
    with psycopg.connect(os.environ["DOCS_SUPERUSER"], autocommit=True) as connection:
        connection.execute(Path(sys.argv[1]).read_bytes())
