"""An OCI registry, such as GitHub's ghcr.io: artefacts of one layer each, by tag."""

import hashlib
import io
import json
import os
import re
from typing import Annotated, Any, BinaryIO

import msgspec

from mlrelease.errors import InputError, RefusedError
from mlrelease.files import sha256
from mlrelease.storage.archive import MAX_BYTES
from mlrelease.storage.connection import Answer, Connection, RegistryError

REFERENCE = re.compile(
    r"((?:\[::1\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::\d{1,5})?)"
    r"/([a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*)"
)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGES = ", ".join(
    [MANIFEST, "application/vnd.oci.image.index.v1+json"]
    + [f"application/vnd.docker.distribution.manifest{x}.v2+json" for x in ("", ".list")]
)
EMPTY = b"{}"  # where an image has its configuration


class Descriptor(msgspec.Struct, rename="camel"):
    """What a manifest says of a blob."""

    media_type: str
    digest: Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, msgspec.Meta(ge=0)]


class Manifest(msgspec.Struct, rename="camel"):
    """What is read of a manifest."""

    layers: Annotated[list[Descriptor], msgspec.Meta(min_length=1, max_length=1)]
    artifact_type: str = ""


class Registry:
    """One repository of a registry, named as people do: `ghcr.io/acme/churn`. `anonymous`: asked
    without credentials, as a stranger would."""

    def __init__(self, reference: str, anonymous: bool = False) -> None:
        self.name = reference.strip().lower().removeprefix("oci://").rstrip("/")
        match = REFERENCE.fullmatch(self.name)
        if match is None:
            raise InputError(f"{reference!r}: not HOST/NAME of a registry, as ghcr.io/acme/model")
        self.host = match[1]
        self._connection = Connection(match[1], match[2], anonymous)

    def __str__(self) -> str:
        return self.name

    def push(self, tag: str, kind: str, layer: BinaryIO) -> None:
        """Let `tag` name an artefact with this layer; what is there already is not sent again."""
        ours = _described(layer, kind)
        if ours.size > MAX_BYTES:
            raise RefusedError(f"{self.name}:{tag}: larger than {MAX_BYTES:,} bytes; not pushed")
        known = self._manifest(tag, write=True)
        self._upload(ours.digest, layer)
        if known is None or known.json().get("layers") != [msgspec.to_builtins(ours)]:
            self._upload(sha256(EMPTY), io.BytesIO(EMPTY))
            body = io.BytesIO(_manifest(ours))
            self._ask("PUT", f"manifests/{tag}", write=True, content=body, kind=MANIFEST)

    def pull(self, tag: str, kind: str, into: BinaryIO, most: int) -> bool:
        """Write the layer of what `tag` names into a stream; False when there is no such tag.

        Raises:
            RefusedError: It is of another kind, or larger than `most` bytes, or the registry serves
                other bytes than it says.
        """
        answer = self._manifest(tag)
        if answer is None:
            return False
        where = f"{self.name}:{tag}"
        try:
            manifest = msgspec.json.decode(answer.body, type=Manifest)
        except msgspec.DecodeError as error:
            raise RefusedError(f"{where}: not an artefact of ours: {error}") from None
        if manifest.artifact_type != kind:
            raise RefusedError(f"{where}: is {manifest.artifact_type or 'an image'}, not {kind}")
        layer = manifest.layers[0]
        if layer.size > most:
            raise RefusedError(f"{where}: has {layer.size:,} bytes, at most {most:,} are taken")
        found = self._ask("GET", f"blobs/{layer.digest}", into=into, most=layer.size)
        served = _described(into, kind).digest if found else "nothing"
        if served != layer.digest:
            raise RefusedError(f"{where}: the registry serves {served} for {layer.digest}")
        into.seek(0)
        return True

    def digest(self, reference: str, write: bool = False) -> str | None:
        """The digest of the manifest that a tag or digest names, also of an image, if any.

        With the permission to `write` a repository that nobody pushed to yet is no fault.
        """
        answer = self._manifest(reference, write)
        return sha256(answer.body) if answer else None

    def size(self, tag: str) -> int | None:
        """The bytes of the layers that a tag names."""
        answer = self._manifest(tag)
        layers = answer.json().get("layers") if answer else None
        return sum(int(layer["size"]) for layer in layers) if isinstance(layers, list) else None

    def delete(self, tag: str) -> bool:
        """Delete what a tag names, and its layer; False where there is no such tag. The registry
        frees the bytes when it collects its garbage.

        Raises:
            RefusedError: It does not delete, or not for us.
        """
        answer = self._manifest(tag, write=True)
        if answer is None:
            return False
        named = [f"blobs/{layer['digest']}" for layer in answer.json().get("layers") or ()]
        try:
            for where in (f"manifests/{sha256(answer.body)}", *named):
                self._ask("DELETE", where, write=True)
        except RegistryError as error:
            raise RefusedError(
                f"{self.name} does not delete {tag} ({error}): delete the version with this tag by"
                " hand (on GitHub: the package's page, Manage versions), and run this again"
            ) from None
        if self._manifest(tag, write=True) is not None:
            raise RefusedError(f"{self.name}: {tag} is still there after it was deleted")
        return True

    def tags(self) -> list[str]:
        """Every tag; none when nobody pushed yet."""
        found: list[str] = []
        where = "tags/list?n=1000"
        while where and (answer := self._ask("GET", where)):
            page = answer.json().get("tags") or []
            found += page
            link = re.match(r'<([^>]+)>;\s*rel="?next', answer.headers.get("link", ""))
            where = link[1] if link and page else ""
        return found

    def _ask(self, method: str, where: str, **more: Any) -> Answer | None:
        return self._connection.patiently(lambda: self._connection.ask(method, where, **more))

    def _manifest(self, reference: str, write: bool = False) -> Answer | None:
        return self._ask("GET", f"manifests/{reference}", write=write, accept=IMAGES)

    def _upload(self, digest: str, content: BinaryIO) -> None:
        def upload() -> None:  # a broken one is begun anew: the registry forgets it, or half of it
            started = self._connection.ask("POST", "blobs/uploads/", write=True)
            location = started.headers.get("location") if started else None
            if not location:
                raise RegistryError(f"{self.name}: takes no uploads; is it a registry?")
            where = location + ("&" if "?" in location else "?") + f"digest={digest}"
            self._connection.ask("PUT", where, write=True, content=content)

        if self._ask("HEAD", f"blobs/{digest}", write=True) is None:
            self._connection.patiently(upload)


def _described(stream: BinaryIO, kind: str) -> Descriptor:
    hasher = hashlib.sha256()
    stream.seek(0)
    while chunk := stream.read(1 << 20):
        hasher.update(chunk)
    return Descriptor(kind, f"sha256:{hasher.hexdigest()}", stream.tell())


def _manifest(layer: Descriptor) -> bytes:
    """An artefact's manifest: equal layers of one repository give equal bytes."""
    empty = Descriptor("application/vnd.oci.empty.v1+json", sha256(EMPTY), len(EMPTY))
    content: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": layer.media_type,
        "config": msgspec.to_builtins(empty),
        "layers": [msgspec.to_builtins(layer)],
    }
    server, repository = (os.environ.get(f"GITHUB_{x}") for x in ("SERVER_URL", "REPOSITORY"))
    if server and repository:  # by this GitHub links the package to the repository
        content["annotations"] = {"org.opencontainers.image.source": f"{server}/{repository}"}
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
