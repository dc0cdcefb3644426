"""Automation: what workflows do after a deployment, a drift report or a template's new version."""
