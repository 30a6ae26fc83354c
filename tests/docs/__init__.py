"""The documentation, run: every command in it, its Python, its SQL, and the tables made from the code."""
