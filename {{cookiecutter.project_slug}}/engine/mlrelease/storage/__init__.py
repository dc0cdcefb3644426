"""Storage: artefacts by digest, in a folder and in an OCI registry."""
