"""Yours: what the engine asks this project for. pyproject.toml names this object."""

from mlrelease import Project

from .data import fingerprint, load
from .model import build

# `trusted` names types of other libraries that a model file may hold, such as "lightgbm.sklearn.
# LGBMClassifier"; the types of this package may always.
project = Project(load=load, fingerprint=fingerprint, build=build, trusted=())
