"""Verification: is a change of a record what it says it is? Recomputed, never believed."""
