"""Forges dumps: everything in them can be a lie, and every checksum fits."""
