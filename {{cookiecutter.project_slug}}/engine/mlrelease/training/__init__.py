"""Training: rows and params.yaml in, a candidate out; the same bytes for the same inputs."""
