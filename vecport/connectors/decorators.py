"""Decorators over the contract: retries with a budget around every call of a session."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay, wait_random_exponential

from ..errors import Unavailable
from .base import Json, Page, Source, Target

S = TypeVar("S", Source, Target)

ATTEMPTS = 6
BUDGET_S = 120.0


def _retrying() -> Retrying:
    return Retrying(
        retry=retry_if_exception_type(Unavailable),
        stop=stop_after_attempt(ATTEMPTS) | stop_after_delay(BUDGET_S),
        wait=wait_random_exponential(multiplier=0.2, max=20),
        reraise=True,
    )


def _retry_method(instance: Any, name: str) -> None:
    call: Callable[..., Any] = getattr(instance, name)

    @functools.wraps(call)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return _retrying()(call, *args, **kwargs)

    setattr(instance, name, wrapped)


def retrying_source(source: Source) -> Source:
    """Retry idempotent reads of a session; a scan goes on behind the last page it gave.

    ``snapshot`` is not retried: a lost snapshot is a fact that the pipeline must see. A scan of a source whose pages
    carry no cursor is not retried either.
    """
    for name in ("fetch", "count"):
        _retry_method(source, name)
    scan = source.scan

    def scan_again(partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        failures, resumable = 0, True
        while True:
            try:
                for page in scan(partition, cursor, page_rows):
                    yield page
                    cursor, failures, resumable = page.cursor, 0, page.cursor is not None
                return
            except Unavailable:
                failures += 1
                if failures >= ATTEMPTS or not resumable:
                    raise
                time.sleep(random.uniform(0.1, min(20.0, 0.2 * 2**failures)))

    source.scan = scan_again  # type: ignore[method-assign]
    return source


def retrying_target(target: Target) -> Target:
    """Retry writes, which are idempotent by contract, and other calls that change nothing when repeated."""
    for name in ("write", "count", "acknowledged"):
        _retry_method(target, name)
    return target
