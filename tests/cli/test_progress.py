"""Progress answers "when" and "is it stuck": on standard error, drawn on a terminal, plain or JSON elsewhere."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from vecport.cli.drawing import Drawing, figures
from vecport.cli.listeners import JsonLines, Plain, Quiet, Ticker, describe
from vecport.cli.listening import listener
from vecport.cli.meter import Meter
from vecport.cli.text import Redactor

from .conftest import CALLS, Fakes, Outcome, results
from .test_output import INJECTIONS, OBEYED, SGR, Terminal

FOREVER = 3600.0
NO_SECRETS = Redactor({})


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(clock: Clock) -> Meter:
    return Meter(clock)


class TestMeter:
    def test_the_rate_is_that_of_the_last_ten_seconds(self, clock: Clock, meter: Meter) -> None:
        meter.phase("read", 10_000)
        for second in range(1, 61):
            clock.now += 1
            meter.advance(10 if second <= 40 else 100)
        reading = meter.read()
        assert reading.rows == 40 * 10 + 20 * 100
        assert reading.rate == pytest.approx(100)
        assert reading.eta_seconds == pytest.approx((10_000 - 2_400) / 100)

    def test_a_stall_shows(self, clock: Clock, meter: Meter) -> None:
        meter.phase("read", 1_000)
        clock.now += 1
        meter.advance(100)
        clock.now += 60
        reading = meter.read()
        assert reading.idle_seconds == 60
        assert "nothing moved for 1 min 00 s" in describe(reading)
        assert "nothing moved for 1 min 00 s" in figures(reading)

    def test_rows_of_an_earlier_run_are_no_rate(self, clock: Clock, meter: Meter) -> None:
        meter.phase("read", 1_000)
        meter.advance(900)
        clock.now += 10
        meter.advance(10)
        reading = meter.read()
        assert (reading.rows, reading.new_rows) == (910, 10)
        assert reading.rate == pytest.approx(1)
        assert reading.eta_seconds == pytest.approx(90)

    def test_more_rows_than_expected_have_no_end_in_sight(self, clock: Clock, meter: Meter) -> None:
        meter.phase("read", 10)
        clock.now += 1
        meter.advance(11)
        assert meter.read().eta_seconds is None

    def test_counts_from_several_threads(self) -> None:
        meter = Meter()
        meter.phase("read", None)
        threads = [threading.Thread(target=lambda: [meter.advance(1) for _ in range(1000)]) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert meter.read().rows == 4000


class TestWorkOfTheDatabase:
    """An index is built by the database, in steps that count other things than records."""

    def test_the_rate_and_the_time_left_are_those_of_the_step(self, clock: Clock, meter: Meter) -> None:
        meter.phase("index", None)
        for second in range(4):
            meter.reached(second * 100, 300, "blocks", "docs_hnsw: scanning")
            clock.now += 1
        meter.reached(0, 1_000, "rows", "docs_hnsw: loading tuples")
        clock.now += 2
        meter.reached(100, 1_000, "rows", "docs_hnsw: loading tuples")
        reading = meter.read()
        assert (reading.rows, reading.total, reading.unit) == (100, 1_000, "rows")
        assert reading.rate == pytest.approx(50)
        assert describe(reading) == "index: docs_hnsw: loading tuples, 100 of 1,000 rows, 50 rows/s, 18 s left"
        assert figures(reading) == "docs_hnsw: loading tuples  100 / 1,000  50 rows/s  18 s left"

    def test_a_step_without_figures_is_named(self, meter: Meter) -> None:
        meter.phase("index", None)
        meter.reached(0, None, "rows", "waiting for writers")
        assert describe(meter.read()) == "index: waiting for writers"

    def test_the_same_figure_again_is_a_stall(self, clock: Clock, meter: Meter) -> None:
        meter.phase("index", None)
        for _ in range(60):
            meter.reached(7, 9, "vectors", "")
            clock.now += 1
        assert "nothing moved for 1 min 00 s" in describe(meter.read())

    def test_the_next_phase_counts_records(self, meter: Meter) -> None:
        meter.phase("index", None)
        meter.reached(7, 9, "vectors", "optimizing")
        meter.phase("count", None)
        assert describe(meter.read()) == "count"

    def test_blocks_are_not_called_records_at_the_end(self, clock: Clock, meter: Meter) -> None:
        stream = io.StringIO()
        heard = Plain(stream, NO_SECRETS, every=FOREVER, meter=meter)
        heard.phase("index")
        heard.reached(5, 9, "blocks", "scanning \x1b[2J")
        heard.tick()
        clock.now += 5
        heard.phase("count")
        heard.close()
        assert stream.getvalue().splitlines() == ["index", "index: scanning \\x1b[2J, 5 of 9 blocks", "count"]


def work(heard: Any, clock: Clock) -> None:
    """An operation as a listener sees it."""
    heard.phase("list")
    clock.now += 2
    heard.phase("read", 100_000)
    clock.now += 5
    heard.advance(40_000)
    heard.durable("data/part-00000-00002.parquet")
    heard.note("the source changed")
    heard.note("the source changed")


class TestPlain:
    def test_has_a_line_for_each_phase_and_one_every_30_seconds(self, clock: Clock, meter: Meter) -> None:
        stream = io.StringIO()
        heard = Plain(stream, NO_SECRETS, every=FOREVER, meter=meter)
        work(heard, clock)
        heard.tick()
        clock.now += 5
        heard.advance(60_000)
        heard.close()
        assert stream.getvalue().splitlines() == [
            "list",
            "read: 0 of 100,000 records",
            "note: the source changed",
            "read: 40,000 of 100,000 records, 8,000 records/s, 7.5 s left, safe: data/part-00000-00002.parquet",
            "read: 100,000 records in 10 s",
        ]

    def test_says_where_it_stopped(self, clock: Clock, meter: Meter) -> None:
        stream = io.StringIO()
        heard = Plain(stream, NO_SECRETS, every=FOREVER, meter=meter)
        work(heard, clock)
        heard.close(finished=False)
        assert stream.getvalue().splitlines()[-1].startswith("stopped in read: 40,000 of 100,000 records")

    def test_ticks_by_itself(self) -> None:
        ticked = threading.Event()
        ticker = Ticker(0.001, ticked.set)
        assert ticked.wait(10)
        ticker.close()

    def test_goes_on_when_nobody_reads(self) -> None:
        stream = io.StringIO()
        heard = Plain(stream, NO_SECRETS, every=FOREVER)

        def gone(text: str) -> int:
            raise BrokenPipeError

        stream.write = gone  # type: ignore[assignment]
        heard.phase("read", 5)
        heard.advance(5)
        heard.note("x")
        heard.close()
        assert heard.heard == ["x"]


class TestJson:
    def test_is_one_object_a_line(self, clock: Clock, meter: Meter) -> None:
        stream = io.StringIO()
        heard = JsonLines(stream, NO_SECRETS, every=FOREVER, meter=meter)
        work(heard, clock)
        heard.close()
        events = [json.loads(line) for line in stream.getvalue().splitlines()]
        assert [e["event"] for e in events] == ["phase", "phase", "durable", "note", "progress"]
        assert {e["schema"] for e in events} == {"vecport.progress/1"}
        assert events[-1] | {"schema": ""} == {
            "schema": "", "event": "progress", "phase": "read", "rows": 40_000, "total": 100_000, "rate": 8000.0,
            "eta_seconds": 7.5, "durable": "data/part-00000-00002.parquet", "unit": "records", "step": None,
        }  # fmt: skip


class TestDrawing:
    def test_leaves_a_line_for_each_finished_phase(
        self, clock: Clock, meter: Meter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TERM", "xterm-256color")
        stream = Terminal()
        heard = Drawing(stream, NO_SECRETS, meter=meter)
        work(heard, clock)
        drawn = io.StringIO()
        console = heard._console
        console.file = drawn
        console.print(heard._draw())
        console.file = stream
        heard.close()
        assert "40,000 / 100,000  8,000 records/s  7.5 s left" in SGR.sub("", drawn.getvalue())
        assert "safe: data/part-00000-00002.parquet" in SGR.sub("", drawn.getvalue())
        text = SGR.sub("", stream.getvalue())
        assert "✓ list in 2.0 s" in text
        assert "✓ read: 40,000 records in 5.0 s (8,000 records/s)" in text
        assert text.count("note: the source changed") == 1
        assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h") == 1

    @pytest.mark.parametrize("payload", INJECTIONS.values(), ids=list(INJECTIONS))
    def test_obeys_nothing_that_stands_in_the_data(
        self, payload: str, meter: Meter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TERM", "xterm-256color")
        for make, stream in ((Drawing, Terminal()), (Plain, io.StringIO()), (JsonLines, io.StringIO())):
            heard = make(stream, NO_SECRETS, meter=meter)  # type: ignore[operator]
            heard.phase(payload, 10)
            heard.durable(payload)
            heard.note(payload)
            if isinstance(heard, Drawing):
                heard._live.refresh()
            heard.close()
            own = re.sub(r"\x1b\[(\?25[lh]|2K|1A|[0-9;]*m)|\r", "", stream.getvalue())
            assert not OBEYED.search(own)


class TestChoice:
    def test_draws_on_a_terminal_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "xterm")

        def kind(mode: str, stream: io.StringIO, quiet: bool = False) -> type:
            heard = listener(mode, stream, quiet=quiet)
            heard.close()
            return type(heard)

        assert kind("auto", Terminal()) is Drawing
        assert kind("auto", io.StringIO()) is Plain
        assert kind("plain", Terminal()) is Plain
        assert kind("json", Terminal()) is JsonLines
        assert kind("none", Terminal()) is Quiet
        assert kind("auto", Terminal(), quiet=True) is Quiet
        monkeypatch.setenv("TERM", "dumb")
        assert kind("auto", Terminal()) is Plain

    def test_notes_are_shown_without_progress_too(self, cli: Callable[..., Outcome], fakes: Fakes) -> None:
        fakes.answer("export", results("careful")["export"])
        assert cli(*CALLS["export"], "--progress", "none").err == "note: careful\n"

    def test_the_operation_is_heard_through_the_command(self, cli: Callable[..., Outcome], fakes: Fakes) -> None:
        def export(**options: Any) -> Any:
            options["progress"].phase("read", 10)
            options["progress"].advance(10)
            return results()["export"]

        fakes.answer("export", export)
        err = cli(*CALLS["export"]).err.splitlines()
        assert err[0] == "read: 0 of 10 records"
        assert err[1].startswith("read: 10 records in ")
        events = cli(*CALLS["export"], "--progress", "json").err.splitlines()[:2]
        assert [json.loads(e)["event"] for e in events] == ["phase", "progress"]
