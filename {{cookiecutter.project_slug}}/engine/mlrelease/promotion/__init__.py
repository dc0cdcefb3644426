"""Promotion: what a pull request proposes, and what a merge releases."""
