"""Compares what a model sees in service with what it was trained on."""
