"""A committed picture is read as hostile: it shows what was drawn here, and holds nothing else."""

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mlrelease.evaluation import plots
from mlrelease.verification import picture
from tests.engine.evaluation.test_plots import figures, scores


@pytest.fixture(scope="module")
def drawn() -> bytes:
    scored = scores("classification", 152)
    return plots.draw(scored, figures(scored))["roc"]


def png(image: Image.Image, **options: Any) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG", **options)
    return written.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def before_the_end(content: bytes, kind: bytes, data: bytes) -> bytes:
    end = chunk(b"IEND", b"")
    return content.removesuffix(end) + chunk(kind, data) + end


def with_text(content: bytes) -> bytes:
    hidden = PngImagePlugin.PngInfo()
    hidden.add_text("Comment", "reviewed by nobody", zip=True)
    return png(opened(content), optimize=True, pnginfo=hidden)


def larger(content: bytes) -> bytes:
    return png(opened(content).resize((961, 720)), optimize=True)


def bomb(content: bytes) -> bytes:
    """A file of kilobytes that says it is 50,000 pixels wide and as high."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 3, 0, 0, 0)
    rest = content[8 + 25 :]
    return picture.SIGNATURE + chunk(b"IHDR", header) + rest


def packed_bomb(content: bytes) -> bytes:
    """Its header is honest; what it unpacks to, 200 MB of zeros, is not."""
    start = content[: content.index(b"IDAT") - 4]
    zeros = zlib.compress(bytes(200_000_000), 9)
    return start + chunk(b"IDAT", zeros) + chunk(b"IEND", b"")


def repacked(content: bytes, more: bytes) -> bytes:
    """The same file, with bytes behind its last row of pixels."""
    start = content.index(b"IDAT") - 4
    (size,) = struct.unpack_from(">I", content, start)
    rows = zlib.decompress(content[start + 8 : start + 8 + size])
    end = content[start + 12 + size :]
    return content[:start] + chunk(b"IDAT", zlib.compress(rows + more)) + end


def painted(content: bytes, box: tuple[int, int, int, int], by: int) -> bytes:
    """The picture with each channel of some pixels darker."""
    pixels = np.array(opened(content).convert("RGB"))
    left, top, right, bottom = box
    pixels[top:bottom, left:right] -= by
    return png(Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE), optimize=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (with_text, "holds more than a picture"),
        (lambda c: before_the_end(c, b"zTXt", b"Comment\0\0" + zlib.compress(b"no")), "holds more"),
        (lambda c: before_the_end(c, b"tRNS", bytes(9)), "holds more"),
        (lambda c: c + b"#!/bin/sh", "no PNG file"),
        (lambda c: c + chunk(b"IEND", b""), "holds more"),
        (lambda c: before_the_end(c, b"IDAT", b"more"), "does not hold one picture"),
        (lambda c: c[:-20], "no PNG file"),
        (lambda c: c[:200] + bytes([c[200] ^ 1]) + c[201:], "no PNG file"),
        (lambda _: b"GIF89a", "no PNG file"),
        (lambda _: b"", "no PNG file"),
        (larger, "of another kind or size"),
        (bomb, "of another kind or size"),
        (lambda c: repacked(c, b"x"), "does not hold one picture"),
        (packed_bomb, "does not hold one picture"),
        (lambda c: painted(c, (880, 600, 881, 601), 15), "shows something else"),
        (lambda c: painted(c, (0, 0, 960, 30), 15), "shows something else"),
    ],
)
def test_a_picture_that_is_not_the_one_drawn_is_refused(
    drawn: bytes, change: Callable[[bytes], bytes], says: str
) -> None:
    assert says in picture.difference(change(drawn), drawn)


def test_a_bomb_is_never_unpacked(drawn: bytes) -> None:
    committed = packed_bomb(drawn)
    tracemalloc.start()
    picture.difference(committed, drawn)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_another_compression_of_the_same_pixels_passes(drawn: bytes) -> None:
    for again in (png(opened(drawn), compress_level=1), repacked(drawn, b"")):
        assert again != drawn
        assert picture.difference(again, drawn) == ""


def test_an_edge_may_be_one_shade_off_and_no_more(drawn: bytes) -> None:
    """As on another processor; the middle of an area has one colour on each."""
    pixels = np.array(opened(drawn).convert("RGB")).astype(int)
    edges = (pixels[1:] != pixels[:-1]).any(axis=2) & (pixels[1:] >= 2 * plots.SHADE).all(axis=2)
    row, column = np.argwhere(edges)[len(np.argwhere(edges)) // 2] + (1, 0)
    for shades, says in ((1, ""), (2, "shows something else than the figures say")):
        box = (column, row, column + 1, row + 1)
        changed = painted(drawn, box, plots.SHADE * shades)
        assert picture.difference(changed, drawn) == says
