"""Predicting: the model's answers for a file of rows."""
