"""Cases about what must not happen: things created by mistake, places changed by reading, secrets shown."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ..connectors.address import Place
from ..connectors.contract import Mark, Selection
from ..connectors.secrets import Secret
from ..errors import NotFound, Unavailable, UsageError, VecportError
from .bench import EVERYTHING, Bench, does_not_apply, opened, refused, tree
from .engines.base import free_port
from .records import batch_of


class Safety:
    """Nothing is created, changed, left behind or told."""

    def test_a_collection_that_is_missing_is_named_with_those_that_exist(self, bench: Bench) -> None:
        made = bench.filled(1)
        existing, missing = bench.names(), bench.fresh_name()
        with refused(NotFound) as caught, bench.source(missing) as source:
            source.describe()
        text = str(caught.value)
        assert missing in text
        assert any(name in text for name in existing), f"{made.name} exists and is not named: {text}"
        assert bench.names() == existing

    def test_a_mistyped_place_creates_nothing(self, bench: Bench) -> None:
        made = bench.filled(1)
        if bench.place.host:
            does_not_apply("a server is not created by its address")
        place = bench.place_of(made.name)
        wrong = replace(place, path=place.path + "-typo", text=place.text + "-typo")
        beside = _beside(place)
        with refused(NotFound, UsageError):
            bench.connector.collections(wrong)
        with refused(NotFound, UsageError), bench.connector.open_source(wrong, made.name, Selection()) as source:
            source.describe()
        assert _beside(place) == beside

    def test_a_server_that_does_not_answer_is_unavailable(self, bench: Bench) -> None:
        if not bench.place.host:
            does_not_apply("it is no server")
        dead = bench.suite.unreachable(bench.place, free_port(2))
        begin = time.monotonic()
        with refused(Unavailable):
            bench.connector.collections(dead)
        with refused(Unavailable), bench.connector.open_source(dead, "contract", Selection()) as source:
            source.describe()
        with refused(Unavailable), bench.connector.open_target(dead, "contract") as target:
            target.describe()
        assert time.monotonic() - begin < 30, "it kept trying; retries wrap a connector, they are not in it"

    def test_reading_leaves_the_place_as_it_was(self, bench: Bench) -> None:
        made = bench.filled(12)
        path = Path(bench.place.path)
        local = not bench.place.host and path.exists()
        before = tree(path) if local else {}
        names, described = bench.names(), _described(bench, made.name)
        with bench.reading(made) as (source, token, _):
            keys = [
                (str(page.batch.column("namespace")[0]), str(page.batch.column("id")[0]))
                for part in source.partitions(5, token)
                for page in source.scan(part, None, 4)
            ]
            if source.capabilities.fetches:
                source.fetch(keys)
            if source.capabilities.lists_keys:
                list(source.keys())
        if local:
            after = tree(path)
            changed = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
            assert not changed, f"reading changed {sorted(changed)}"
        assert bench.names() == names
        assert _described(bench, made.name) == described

    def test_closing_twice_is_harmless_and_leaves_no_files(
        self, bench: Bench, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        made = bench.collection()
        records = bench.records(made, 5)
        place = bench.place_of(made.name)
        beside = _beside(place)
        with _temporary(tmp_path_factory.mktemp("temporary")) as temporary:
            plan = bench.plan(made, records)
            target = bench.target(made.name)
            target.prepare(plan)
            with opened(target, lambda: target.effects(plan)):
                target.attach(plan)
                target.write(batch_of(records, made), Mark("part-00000-00000.parquet", 0))
                target.finish(plan.passport)
            target.close()
            target.close()
            source = bench.source(made.name, collection=made)
            with opened(source, source.effects):
                token = source.snapshot()
                source.attach(token)
                next(iter(source.scan(next(source.partitions(EVERYTHING, token)), None, 2)))
            source.close()
            source.close()
            bench.source(made.name, collection=made).close()
            bench.target(made.name).close()
            assert tree(temporary) == {}, "temporary files stay"
        assert _beside(place) - beside <= {Path(place.path).name}, "files stay beside the place"

    def test_secrets_are_never_shown(self, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
        made = bench.filled(1)
        secrets = [o.name for o in bench.connector.info.options if o.secret]
        canaries = {name: f"canary-{name}-5f1d" for name in secrets}
        place = bench.place_of(made.name)
        place = replace(
            place,
            password=Secret("canary-password-5f1d") if place.host else None,
            options={**place.options, **{n: Secret(c) for n, c in canaries.items()}},
        )
        caplog.set_level(logging.DEBUG)
        shown = list(_provoke(bench, place, made.name))
        shown += list(_provoke(bench, bench.suite.unreachable(place, free_port(2)), made.name))
        text = "\n".join([*shown, caplog.text])
        assert shown
        assert "5f1d" not in text, next(line for line in text.splitlines() if "5f1d" in line)

    def test_errors_are_typed(self, bench: Bench) -> None:
        made = bench.filled(1)
        with pytest.raises(VecportError) as caught, bench.source("contract/missing\0") as source:
            source.describe()
        assert caught.value.exit_code in (2, 10, 14)
        assert bench.read(made).keys


def _provoke(bench: Bench, place: Place, name: str) -> Iterator[str]:
    """Everything that a place's sessions say, as text: their representations, plain data and errors."""
    yield repr(place)
    yield repr(bench.connector)
    for collection in (name, bench.fresh_name()):
        source = target = None
        try:
            source = bench.connector.open_source(place, collection, Selection())
            yield f"{source!r} {source.describe()!r}"
            token = source.snapshot()
            source.attach(token)
            partitions = list(source.partitions(10, token))
            yield f"{token!r} {partitions!r}"
            yield from (repr(p.cursor) for p in source.scan(partitions[0], None, 10))
        except VecportError as e:
            yield _everything(e)
        finally:
            if source is not None:
                source.close()
        try:
            target = bench.connector.open_target(place, collection)
            yield f"{target!r} {target.describe()!r} {target.query_hint()}"
        except VecportError as e:
            yield _everything(e)
        finally:
            if target is not None:
                target.close()
    try:
        yield repr(bench.connector.collections(place))
    except VecportError as e:
        yield _everything(e)


def _everything(e: VecportError) -> str:
    return f"{e} {e!r} {e.args} " + "".join(traceback.format_exception(e))


def _described(bench: Bench, name: str) -> Any:
    with bench.source(name) as source:
        return source.describe()


def _beside(place: Place) -> set[str]:
    folder = Path(place.path).absolute().parent
    return set() if place.host or not folder.is_dir() or not Path(place.path).is_absolute() else set(os.listdir(folder))


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """Send temporary files to a folder of their own."""
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir, os.environ["TMPDIR"] = str(folder), str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        if variable is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = variable
