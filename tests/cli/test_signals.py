"""Ctrl-C and SIGTERM stop at the next safe point and print the command that resumes; the second one ends at once."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

#: A program whose export runs until it is told to stop, or for ever; it tells when signals may come.
PROGRAM = """
import sys, time, threading
import vecport
from vecport.cli.app import main

def polite(source, dump, *, progress, stop, **options):
    progress.phase("read", 10)
    while True:
        stop.check()
        time.sleep(0.005)

def deaf(source, dump, *, progress, stop, **options):
    progress.phase("read", 10)
    while not stop.is_set():
        time.sleep(0.005)
    progress.note("deaf")
    threading.Event().wait()

def listing(address):
    try:
        sys.stderr.write("listing\\n")
        sys.stderr.flush()
        threading.Event().wait()
    finally:
        sys.stderr.write("closed\\n")

vecport.export, vecport.ls = globals().get(sys.argv[1], polite), listing
main(sys.argv[2:])
"""
EXPORT = ["export", "memory:a b", "./d", "-c", "it's"]
AGAIN = "vecport export 'memory:a b' ./d -c 'it'\"'\"'s'"


@contextmanager
def started(*arguments: str, until: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Run the program and wait until it has said something."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        read_until(process.stderr, until)
        yield process, process.stderr
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def read_until(stream: IO[str], text: str) -> None:
    for line in stream:
        if text in line:
            return
    raise AssertionError(f"{text!r} was never said")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
class TestFirstSignal:
    def test_stops_and_prints_the_command_that_resumes(self, number: int, code: int) -> None:
        with started("polite", *EXPORT, until="read") as (process, err):
            process.send_signal(number)
            text = err.read()
            assert process.wait() == code
        assert "stopping at the next safe point" in text
        assert f"\n  resume: {AGAIN}\n" in text
        assert "Traceback" not in text

    def test_says_so_in_json(self, number: int, code: int) -> None:
        with started("polite", *EXPORT, "--json", until="read") as (process, err):
            process.send_signal(number)
            last = err.read().splitlines()[-1]
            assert process.wait() == code
        assert f'"exit_code": {code}' in last
        assert '"code": "interrupted"' in last
        assert "--json" in last

    def test_closes_what_a_command_without_a_stop_has_open(self, number: int, code: int) -> None:
        with started("polite", "ls", "memory:x", until="listing") as (process, err):
            process.send_signal(number)
            text = err.read()
            assert process.wait() == code
        assert text.startswith("closed\nerror: interrupted\n")


def test_the_second_signal_ends_at_once() -> None:
    with started("deaf", *EXPORT, until="read") as (process, err):
        process.send_signal(signal.SIGINT)
        read_until(err, "deaf")
        process.send_signal(signal.SIGINT)
        text = err.read()
        assert process.wait() == 130
    assert text.endswith(f"ended at once; everything that was finished is kept\n  resume: {AGAIN}\n")


def test_on_a_terminal_the_cursor_comes_back() -> None:
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "deaf", *EXPORT], stderr=terminal, env={**os.environ, "TERM": "xterm"}
    )
    os.close(terminal)
    seen = b""
    try:
        for text in (b"read", b"deaf"):
            while text not in seen:
                seen += os.read(controller, 4096)
            process.send_signal(signal.SIGINT)
        while b"resume:" not in seen:
            seen += os.read(controller, 4096)
        assert process.wait() == 130
    finally:
        process.kill()
        process.wait()
        os.close(controller)
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l") >= 0
