"""Does a committed PNG file show what was drawn here, and nothing else? It is read as hostile."""

import io
import struct
import zlib
from collections.abc import Iterator

from PIL import Image, ImageChops, ImageFilter

from mlrelease.evaluation.plots import SHADE

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def difference(committed: bytes, drawn: bytes) -> str:
    """How a picture differs from the one that was drawn here; empty if it shows the same.

    Bytes differ where another build compresses, and single pixels where another processor rounds:
    by one shade, and only at an edge. Its header decides how much is decoded, so it is compared
    before anything is.
    """
    if committed == drawn:
        return ""
    try:
        (frame, packed), (wanted, ours) = _parts(committed), _parts(drawn)
        if frame != wanted:
            return "is of another kind or size, or holds more than a picture"
        size = len(zlib.decompress(ours))
        inflate = zlib.decompressobj()
        pixels = inflate.decompress(packed, size + 1)
        if len(pixels) != size or not inflate.eof or inflate.unused_data:
            return "does not hold one picture"
        there, here = (Image.open(io.BytesIO(png)).convert("RGB") for png in (committed, drawn))
    except (struct.error, zlib.error, OSError, SyntaxError, ValueError):
        return "is no PNG file as plots are"
    return "" if _looks_same(there, here) else "shows something else than the figures say"


def _looks_same(there: Image.Image, here: Image.Image) -> bool:
    apart = ImageChops.difference(there, here)
    brightest, darkest = ImageFilter.MaxFilter(3), ImageFilter.MinFilter(3)
    edges = ImageChops.difference(here.filter(brightest), here.filter(darkest))
    inside = ImageChops.subtract(apart, edges.point(lambda value: 255 if value else 0))
    too_far = apart.point(lambda value: 255 if value > SHADE else 0)
    return not too_far.getbbox() and not inside.getbbox()


def _parts(png: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """All that a file holds but its palette (256 colours at most) and its packed pixels; those."""
    chunks = list(_chunks(png))
    frame = [(kind, data[768:] if kind == b"PLTE" else data) for kind, data in chunks]
    pixels = b"".join(data for kind, data in chunks if kind == b"IDAT")
    return [part for part in frame if part[0] != b"IDAT"], pixels


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not png.startswith(SIGNATURE):
        raise ValueError("no PNG file")
    at = len(SIGNATURE)
    while at < len(png):
        size, kind = struct.unpack_from(">I4s", png, at)
        data = png[at + 8 : at + 8 + size]
        if struct.unpack_from(">I", png, at + 8 + size) != (zlib.crc32(kind + data),):
            raise ValueError("damaged")
        yield kind, data
        at += size + 12
