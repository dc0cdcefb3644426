"""Code and data in, a judged candidate out. Knows nothing of releases."""
