"""Rehearsal: the whole life of a model in a throw-away copy."""
