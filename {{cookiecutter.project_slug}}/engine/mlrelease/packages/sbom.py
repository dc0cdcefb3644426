"""What is inside an image: its Python packages as a software bill of materials (CycloneDX)."""

import json

from mlrelease.files import canonical_json
from mlrelease.output import begins
from mlrelease.packages.docker_cli import docker

OURS = begins('{\n "bomFormat": "CycloneDX",\n "components": [')
LIST = (
    "import importlib.metadata as m, json;"
    "print(json.dumps(sorted({(d.name, d.version) for d in m.distributions()})))"
)


def sbom(reference: str, name: str, version: str) -> str:
    """The packages that are installed in an image, not the ones that were asked for."""
    isolated = ("run", "--rm", "--network", "none", "--entrypoint", "python", reference)
    packages = json.loads(docker(*isolated, "-c", LIST))
    components = [
        {
            "type": "library",
            "name": package,
            "version": release,
            "purl": f"pkg:pypi/{package.lower()}@{release}",
        }
        for package, release in packages
    ]
    subject = {"type": "container", "name": name, "version": version}
    return canonical_json(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {"component": subject},
            "components": components,
        }
    )
