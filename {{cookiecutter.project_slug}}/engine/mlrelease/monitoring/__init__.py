"""Monitoring: how far the rows in service have moved from those of the training."""
