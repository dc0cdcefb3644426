"""Answers requests with one model directory. Knows neither git nor GitHub."""
