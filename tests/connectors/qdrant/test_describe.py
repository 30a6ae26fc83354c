"""What the description of a Qdrant collection says."""

from __future__ import annotations

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb

from vecport.connectors.address import Place
from vecport.connectors.contract import Selection, TargetPlan
from vecport.connectors.qdrant import QdrantSource, schema
from vecport.errors import NotRepresentable, Unavailable

from .script import Script, facts
from .support import CONNECTOR, DENSE, MARK, collection, make, page, source

MULTI = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)


def test_custom_sharding_and_deferred_points_are_noticed() -> None:
    info = facts()
    info.config.params.sharding_method = pb.Custom
    assert schema.unsupported(info, pb) == ["custom sharding"]
    script = Script([], [info])
    script.shard_keys = lambda name: ["eu", "7"]  # type: ignore[method-assign]
    with pytest.raises(NotRepresentable, match=r"custom sharding \(shard keys: 'eu', '7'\)") as caught:
        QdrantSource(script, "c", Selection()).describe()
    assert "shard key" in caught.value.next
    later = facts()
    later.config.params.vectors_config.params.distance = 77
    assert schema.unsupported(later, pb) == ["vector '' with distance 77"]
    later.config.params.vectors_config.params.datatype = 88
    assert schema.unsupported(later, pb) == ["vector '' of 88"]
    deferred = facts()
    deferred.update_queue.deferred_points = 12
    assert "12 points are deferred" in schema.notes(deferred, pb, metadata=True, aliases=[])[0]
    with pytest.raises(Unavailable, match="12 points are deferred"):
        QdrantSource(Script([], [deferred]), "c", Selection()).snapshot()
    assert QdrantSource(Script([], [facts()]), "c", Selection()).snapshot() == {}


def test_notes_tell_what_matters(place: Place, official: QdrantClient, name: str) -> None:
    config = DENSE.model_copy(
        update={"quantization_config": models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type="int8"))}
    )
    make(
        official,
        name,
        vectors_config={"v": config},
        strict_mode_config=models.StrictModeConfig(enabled=True, max_query_limit=7, upsert_max_batchsize=5),
        metadata={"vecport": "not JSON"},
    )
    official.create_payload_index(name, "year", models.PayloadSchemaType.INTEGER)
    alias = f"alias-{name}"
    create = models.CreateAlias(collection_name=name, alias_name=alias)
    official.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])
    with source(place, name) as session:
        description = session.describe()
    notes = "\n".join(description.notes)
    for part in (
        "strict mode is on",
        "max_query_limit=7",
        "quantised (scalar)",
        "'year'",
        repr(alias),
        "no passport",
        "does not set it",
    ):
        assert part in notes
    assert description.passport is None
    native = description.collection.native
    assert native["payload_indexes"]["year"]["type"] == "integer"
    assert native["aliases"] == [alias]
    assert native["strict_mode_config"]["max_query_limit"] == 7
    assert description.version
    with source(place, alias) as session:
        assert session.count() == 0


def test_passport_comes_back(place: Place, name: str) -> None:
    c = collection(name)
    with CONNECTOR.open_target(place, name) as target:
        assert target.describe() is None
        target.prepare(TargetPlan(collection=c, rows=1, passport={"state": "loading", "é": [1, None]}))
        found = target.describe()
        assert found is not None
        assert found.passport == {"state": "loading", "é": [1, None]}
        target.write(page(c, ["1"]), MARK)
        target.finish({"state": "complete"})
    with source(place, name) as session:
        assert session.describe().passport == {"state": "complete"}
