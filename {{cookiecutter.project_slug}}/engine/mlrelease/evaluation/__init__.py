"""Evaluation: how good a candidate is beside the champion, judged by policy.yaml; the report."""
