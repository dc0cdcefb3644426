"""The command line: `model VERB`."""
