"""What the engine asks the dummy project for."""

from mlrelease import Project

from .data import fingerprint, load
from .model import build

project = Project(load=load, fingerprint=fingerprint, build=build)
