"""Packages: a candidate into the store, and its container image."""
