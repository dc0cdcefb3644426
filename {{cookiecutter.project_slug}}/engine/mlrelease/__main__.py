"""`python -m PACKAGE` is the command `model`."""

from mlrelease.cli.app import main

main()
