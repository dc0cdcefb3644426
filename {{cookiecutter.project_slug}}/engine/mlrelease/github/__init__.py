"""GitHub's REST API, and what a release needs of it."""
