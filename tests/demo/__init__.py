"""The demo, run whole."""
