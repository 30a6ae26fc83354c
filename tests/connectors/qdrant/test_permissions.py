"""What is known of a key before it is used: the truth, or nothing."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from vecport.connectors.qdrant import permissions
from vecport.errors import AuthenticationFailed
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.plan import plan
from vecport.testing.engines import QdrantEngine


def test_what_a_key_may_do_is_told_where_the_server_or_the_token_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id":1,"vector":[1,2]}\n')
    export(f"jsonl:{tmp_path / 'rows.jsonl'}", tmp_path / "dump")
    given: dict[str, Any] = {"collection": "c", "settings": {"metric": "l2"}}
    with QdrantEngine(api_key="right-key", read_only_api_key="read-key") as engine:
        monkeypatch.setenv("QDRANT_API_KEY", "read-key")
        found = plan(str(tmp_path / "dump"), engine.address, **given)
        [one] = found.facts["permissions"]
        assert (one["allowed"], found.exit_code) == (None, 0)
        assert "looks like any other" in one["why"]
        with pytest.raises(AuthenticationFailed):
            import_(tmp_path / "dump", engine.address, **given)
        monkeypatch.setenv("QDRANT_API_KEY", "right-key")
        assert plan(str(tmp_path / "dump"), engine.address, **given).facts["permissions"] == [one]
        import_(tmp_path / "dump", engine.address, **given)
        monkeypatch.setenv("QDRANT_API_KEY", "wrong-key")
        with pytest.raises(AuthenticationFailed):
            plan(str(tmp_path / "dump"), engine.address, **given)
        monkeypatch.delenv("QDRANT_API_KEY")
        with pytest.raises(AuthenticationFailed):
            plan(str(tmp_path / "dump"), engine.address, **given)
    with QdrantEngine() as engine:
        [one] = plan(str(tmp_path / "dump"), engine.address, **given).facts["permissions"]
        assert (one["allowed"], one["why"]) == (True, "the server asks for no key")
        import_(tmp_path / "dump", engine.address, **given)


def token(**claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.c2ln"


def entry(access: str, **more: Any) -> list[dict[str, Any]]:
    return [{"collection": "other", "access": "rw"}, {"collection": "docs", "access": access, **more}]


CLAIMS = {
    "m": (token(access="m"), True, True),
    "r": (token(access="r"), True, False),
    "nothing said": (token(), True, None),
    "this collection": (token(access=entry("rw")), True, None),
    "this collection, to read": (token(access=entry("r")), True, False),
    "another collection": (token(access=entry("rw")[:1]), False, False),
    "a part of it": (token(access=entry("r", payload={"tenant": 1})), False, False),
    "over": (token(access="m", exp=time.time() - 60), False, False),
    "not yet over": (token(access="m", exp=time.time() + 86_400), True, True),
    "what nobody knows": (token(access={"x": 1}), True, None),
}


@pytest.mark.parametrize("which", CLAIMS)
def test_claims_of_a_token_take_away(which: str) -> None:
    key, reads, writes = CLAIMS[which]
    [read], [write] = permissions.to_read(key, "docs"), permissions.to_write(key, "docs")
    assert (read.allowed, write.allowed) == (reads, writes)
    for one in (read, write):
        assert (one.grant != "") == (one.allowed is False) == (one.why != "" and one.allowed is not None)
        assert key not in repr(one)


@pytest.mark.parametrize("key", ["", "plain", "a.b", "a.b.c", "a.%%.c", "a.W10.c", "a.//8.c", "a.b.c.d"])
def test_what_is_no_token_is_a_key_like_any_other(key: str) -> None:
    assert permissions.to_read(key, "docs") == ()
    assert [p.allowed for p in permissions.to_write(key, "docs")] == [True if not key else None]
