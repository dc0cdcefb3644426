"""Tests of the template: what it bakes, what it refuses, and that bakes stay updatable."""
