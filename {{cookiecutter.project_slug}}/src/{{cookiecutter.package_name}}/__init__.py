"""A model whose running version git decides; see the README."""
