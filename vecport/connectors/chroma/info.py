"""What the registry and the documentation show of Chroma."""

from __future__ import annotations

from typing import Final

from ..contract import ConnectorInfo, Option
from .client import CREATE_OPTION
from .settings import SETTINGS
from .values import TITLE

INFO: Final = ConnectorInfo(
    name="chroma",
    title=TITLE,
    schemes=("chroma",),
    extra="chroma",
    modules=("chromadb",),
    example="chroma:./folder",
    options=(
        Option("tenant", "Tenant that holds the database.", env=("CHROMA_TENANT",)),
        Option("database", "Database that holds the collection.", env=("CHROMA_DATABASE",)),
        Option(
            CREATE_OPTION,
            "yes: an import creates the tenant and the database where they are not there.",
            default="no",
        ),
        Option("api-key", "Key for a server that asks for one.", secret=True, env=("CHROMA_API_KEY",)),
    ),
    settings=SETTINGS,
    tls_suffix="+https",
    where="""a JSON object in Chroma's where language, as {"year": {"$gte": 2020}}""",
)
