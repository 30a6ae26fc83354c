"""Everything that vecport asks of a connector, over sqlite-vec."""

import pytest
from hands import SqliteVecHands
from vecport_sqlite_vec import SqliteVecConnector

from vecport.connectors.address import parse
from vecport.testing.contract import ConnectorContract


class TestSqliteVec(ConnectorContract):
    connector, hands = SqliteVecConnector(), SqliteVecHands

    @pytest.fixture(scope="class")
    def place(self, tmp_path_factory):
        return parse(f"sqlite-vec:{tmp_path_factory.mktemp('sqlite') / 'contract.db'}")

    def where(self, bench):
        return "json_extract(metadata, '$.even') = 1", lambda record: record.metadata["even"]
