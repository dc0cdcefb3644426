"""Tests of what watches a model in service."""
