"""A project that is not the default one: what the engine's own tests train and release."""
