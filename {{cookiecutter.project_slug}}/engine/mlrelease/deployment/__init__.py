"""Deployment: make what runs equal to the ledger."""
