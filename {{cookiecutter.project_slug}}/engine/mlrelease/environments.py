"""The environments that a model can run in, and where their records are."""

from typing import Literal

Environment = Literal["staging", "production"]
ENVIRONMENTS: tuple[Environment, ...] = ("staging", "production")


def folder(environment: str) -> str:
    """The folder that a promotion to this environment may touch."""
    return f"deploy/{environment}"


def record_path(environment: str) -> str:
    """The record's path in the repository."""
    return f"{folder(environment)}/model.yaml"
