"""Serving: the model behind HTTP."""
