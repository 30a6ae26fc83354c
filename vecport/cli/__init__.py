"""The command line: parse, call one public function, show its result."""

from __future__ import annotations

from .app import main

__all__ = ["main"]
