"""vecport moves vector collections between databases through a file."""

__version__ = "0.1.0.dev0"
