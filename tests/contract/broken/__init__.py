"""Memory connectors that are broken on purpose, each in one way that a connector's author could get wrong."""
