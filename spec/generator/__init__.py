"""What ``spec/generate.py`` is made of."""
