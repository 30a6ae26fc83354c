"""``python -m vecport.cli``."""

from . import main

main()
