"""Writing a JSON Lines file: appended and flushed row group by row group, put in place in one step."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from ...errors import NotFound, UsageError
from ...model.capabilities import Names, TargetCapabilities
from .. import access
from ..address import Place
from ..checks import check_plan
from ..contract import Description, Json, Mark, Permission, Target, TargetPlan
from ..kit.lifecycle import settle
from ..kit.settings import parse as parse_settings
from ..kit.staged import Staged
from ..kit.unlimited import UNLIMITED
from .client import Input, codec_of
from .info import TITLE
from .lines import BLANK, FORM_NAMES, spell_lines
from .schema import take_survey
from .settings import Options


class JsonlTarget(Target):
    """Writes one file, which is staged beside its place until it is whole (``kit.staged``)."""

    capabilities: TargetCapabilities = replace(
        UNLIMITED,
        # The file itself is named by its path.
        collection_names=Names(says="any text: the file is the collection"),
        vector_names=Names(
            rf"(?!(?:{'|'.join(sorted(FORM_NAMES))})\Z)(?s:.+)",
            says=f"{', '.join(sorted(FORM_NAMES))} mark sparse and binary vectors in JSON Lines",
        ),
        passport=False,
        staged=True,
        ack="transactional",
        if_exists=frozenset({"create", "replace"}),
        write_rows=10_000,
    )

    def __init__(self, place: Place, name: str) -> None:
        self._path = Path(os.path.abspath(place.path))
        self._shown, self._place, self._name = place.text, place, name
        self._plan: TargetPlan | None = None
        self._staged: Staged | None = None

    def describe(self) -> Description | None:
        if not self._path.exists():
            return None
        source = Input(self._place)
        try:
            survey = take_survey(source, Options.parse(self._place), self._name, frozenset())
            return Description(survey.collection, survey.count, None, "1", survey.notes)
        finally:
            source.close()

    def permissions(self, plan: TargetPlan) -> tuple[Permission, ...]:
        if not self._path.parent.is_dir() or self._path.is_dir():
            return ()
        there = (access.to_read([self._path]),) if self._path.exists() else ()
        return (*there, access.to_create(self._path))

    def begun(self, import_id: str, there: Description | None) -> str | None:
        return Staged(self._path, import_id).begun()

    def prepare(self, plan: TargetPlan) -> None:
        self._check(plan)
        if _has_content(self._path):
            # A file that is there stays until the new one is whole, and gives way then to equal bytes or to replace
            # alone: so a resumed import may take it for its own.
            found = Description(plan.collection, None)
            settle(plan, found, title="the file", place=self._shown, ours=plan.resume)
        staged, digest = self._stage(plan), plan.collection.digest()
        if not (plan.resume and staged.resume(digest, plan.nonce)):
            staged.begin(digest, plan.nonce)

    def attach(self, plan: TargetPlan) -> None:
        if not self._stage(plan).resume(plan.collection.digest(), plan.nonce):
            raise UsageError(f"{self._shown} was not prepared")

    def acknowledged(self) -> set[Mark] | None:
        return set() if self._staged is None else set(self._staged.marks)

    def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
        plan, staged = self._attached()
        if mark in staged.marks:
            return
        data = spell_lines(batch, plan.collection)
        codec = codec_of(self._path.name)
        if codec == "gzip":
            data = gzip.compress(data, 6, mtime=0)
        elif codec == "zstd":
            data = pa.compress(data, codec="zstd", asbytes=True)
        staged.append(mark, data, batch.num_rows)

    def finish(self, passport: Mapping[str, Json]) -> None:
        """Put the file in place. The passport has no room in it."""
        plan, staged = self._attached()
        staged.place(replace=plan.if_exists == "replace", has_content=_has_content)

    def count(self) -> int:
        """Records that are on disk."""
        if self._staged is not None:
            return self._staged.rows
        there = self.describe()
        if there is None:
            raise NotFound(f"{self._shown} does not exist")
        return there.count or 0

    def close(self) -> None:
        if self._staged is not None:
            self._staged.close()

    def _check(self, plan: TargetPlan) -> None:
        _check_choices(plan, self.capabilities)
        if not self._path.parent.is_dir():
            raise NotFound(f"there is no folder {self._path.parent}", safe="nothing was created")
        if self._path.is_dir():
            raise UsageError(f"{self._shown} is a folder", next="name a file in it")
        access.require(access.to_create(self._path))

    def _stage(self, plan: TargetPlan) -> Staged:
        """The staged file of an import."""
        self.close()
        self._plan, self._staged = plan, Staged(self._path, plan.import_id)
        return self._staged

    def _attached(self) -> tuple[TargetPlan, Staged]:
        if self._plan is None or self._staged is None:
            raise UsageError("write before attach")
        return self._plan, self._staged


class StdoutTarget(JsonlTarget):
    """Writes to stdout. What went through a pipe cannot be taken up again: a resumed import writes everything."""

    capabilities: TargetCapabilities = JsonlTarget.capabilities

    def __init__(self, place: Place, name: str) -> None:
        super().__init__(place, name)
        self._marks: set[Mark] = set()
        self._rows = 0

    def describe(self) -> Description | None:
        return None

    def permissions(self, plan: TargetPlan) -> tuple[Permission, ...]:
        return ()

    def begun(self, import_id: str, there: Description | None) -> str | None:
        return None

    def prepare(self, plan: TargetPlan) -> None:
        _check_choices(plan, self.capabilities)
        self._plan = plan

    def attach(self, plan: TargetPlan) -> None:
        self._plan = plan

    def acknowledged(self) -> set[Mark] | None:
        return set(self._marks)

    def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
        if self._plan is None:
            raise UsageError("write before attach")
        if mark not in self._marks:
            sys.stdout.buffer.write(spell_lines(batch, self._plan.collection))
            self._marks.add(mark)
            self._rows += batch.num_rows

    def finish(self, passport: Mapping[str, Json]) -> None:
        sys.stdout.buffer.flush()

    def count(self) -> int:
        return self._rows


def _check_choices(plan: TargetPlan, caps: TargetCapabilities) -> None:
    """Refuse what lines cannot hold, and settings: there are none."""
    check_plan(plan, caps, TITLE)
    parse_settings(plan.settings, (), TITLE)


def _has_content(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return any(line.strip(BLANK) for line in file)
    except FileNotFoundError:
        return False
