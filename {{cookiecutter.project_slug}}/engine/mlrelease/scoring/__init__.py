"""Scoring: rows in, answers out; what a model directory holds."""
