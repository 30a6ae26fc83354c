"""The engine under ``verify`` and ``diff``: keys and hashes joined, and what differs given to the judge."""
