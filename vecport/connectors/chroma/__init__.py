"""Chroma: a folder of this machine (``chroma:./folder``) or a server (``chroma://host:8000``, ``chroma+https://``)."""

from .connector import ChromaConnector
from .source import ChromaFolderSource, ChromaServerSource, ChromaSource
from .target import ChromaFolderTarget, ChromaServerTarget, ChromaTarget

__all__ = [
    "ChromaConnector",
    "ChromaFolderSource",
    "ChromaFolderTarget",
    "ChromaServerSource",
    "ChromaServerTarget",
    "ChromaSource",
    "ChromaTarget",
]
