"""Settings: what a repository on GitHub should be set to."""
