"""`python -m PACKAGE` is the command `model`."""

from .cli.app import main

main()
