"""The dump format: manifest, shards, location, journal, integrity."""

from .dump import Dump, open_dump
from .manifest import Identity, Manifest, ShardEntry

__all__ = ["Dump", "Identity", "Manifest", "ShardEntry", "open_dump"]
