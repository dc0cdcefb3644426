"""The project's tests; they mirror src/ and take the package's modules from .package."""
