"""The connector contract: what a database module provides, and what the pipelines may rely on.

A connector is one module with a ``Connector`` subclass, registered under the entry point group
``vecport.connectors``. It has two roles, each optional: ``Source`` (read) and ``Target`` (write). Capabilities are
data; ``vecport.testing`` checks them against behaviour, both ways.

Rules that hold for every connector:

* The SDK is imported inside functions of the connector's own module, never at its top.
* Vectors travel as NumPy or Arrow buffers. ``model.batch`` builds pages; metadata is canonical JSON text
  (``model.canonical``, ``model.json_columns``).
* Retries, rate limits, logging and fault injection wrap a connector (``connectors.decorators``); a connector raises
  the typed errors of ``vecport.errors`` and never sleeps.
* What a connector cannot carry it refuses by name with ``NotRepresentable``; it never drops anything.
* A record that is there and cannot be given whole is a ``Reject`` of its page: the pipeline fails, or names it.
* Reading never writes to the place that is read. What a session must change all the same while it works, as waking a
  tenant, it declares as an ``Effect``: the pipeline announces it, writes it down, and has it undone.
"""

from __future__ import annotations

from .connector import Connector
from .effects import Effect
from .info import MAX_NAMESPACES, CollectionSummary, ConnectorInfo, Description, Json, Option, Permission, Selection
from .plan import Mark, TargetPlan
from .source import Page, Reject, Source
from .target import Hit, Target

__all__ = [
    "MAX_NAMESPACES",
    "CollectionSummary",
    "Connector",
    "ConnectorInfo",
    "Description",
    "Effect",
    "Hit",
    "Json",
    "Mark",
    "Option",
    "Page",
    "Permission",
    "Reject",
    "Selection",
    "Source",
    "Target",
    "TargetPlan",
]
