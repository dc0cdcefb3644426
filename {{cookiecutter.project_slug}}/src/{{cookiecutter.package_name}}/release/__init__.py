"""A candidate in, a running model out, through git."""
