"""What the registry and the documentation show of Qdrant."""

from __future__ import annotations

from typing import Final

from ..contract import ConnectorInfo, Option
from .settings import SETTINGS, TITLE

INFO: Final = ConnectorInfo(
    name="qdrant",
    title=TITLE,
    schemes=("qdrant",),
    extra="qdrant",
    modules=("qdrant_client", "grpc"),
    example="qdrant://localhost:6333",
    options=(
        Option("api-key", "The API key or token.", secret=True, env=("QDRANT_API_KEY",)),
        Option("grpc-port", "The port of the gRPC interface; one above the address's port by default."),
        Option("timeout-s", "Seconds after which a request counts as unanswered; those of --timeout by default."),
        Option("index-wait-s", "Seconds to wait for the index at the end of an import while it does not grow.", "600"),
        Option("prefix", "A path before the REST interface, where a proxy adds one."),
    ),
    settings=SETTINGS,
    where="a filter in the JSON of Qdrant's REST interface",
)
