"""sqlite-vec for vecport: vec0 tables of a SQLite file, ``sqlite-vec:./file.db``."""

from .info import SqliteVecConnector as SqliteVecConnector
