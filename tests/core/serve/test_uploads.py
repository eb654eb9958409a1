# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with an upload is said in one sentence, and nothing breaks."""

import errno
import gzip
import io
import os
import re
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image
from serving import client_of, make_test_place, micrograph, mrc_bytes

from cryoice_scipion.core.serve import try_routes, uploads

GOOD = micrograph()


def png(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def tiff(image, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, image, **options)
    return stream.getvalue()


def png_bomb(side):
    """Return a PNG file of a few bytes that states a huge size."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def with_header(content, **fields):
    """Return an MRC file with other 32-bit integers at some words of its header."""
    changed = bytearray(content)
    for name, value in fields.items():
        struct.pack_into("<i", changed, 4 * {"nx": 0, "ny": 1, "nz": 2, "mode": 3}[name], value)
    return bytes(changed)


BAD = {
    "no file": (lambda m: None, {}, "Micrograph: no file was chosen"),
    "empty": (lambda m: b"", {}, "is empty"),
    "text": (lambda m: b"not an image " * 200, {}, "not an MRC file|not an image"),
    "short text": (lambda m: b"hello", {"name": "notes.txt"}, "not an image of a known format"),
    "truncated": (lambda m: m[:9000], {}, "truncated"),
    "header only": (lambda m: m[:700], {}, "truncated: 700 bytes"),
    "header bomb": (lambda m: with_header(m, nx=900_000, ny=900_000), {}, "truncated|at most 300,000,000 px"),
    "zero size": (lambda m: with_header(m, nx=0), {}, "header is not valid"),
    "stack": (lambda m: with_header(m, ny=80, nz=2), {}, "stack or volume of 2 sections"),
    "complex mode": (lambda m: with_header(m, mode=4), {}, "complex numbers"),
    "movie mode": (lambda m: with_header(m, mode=101), {}, "a movie"),
    "PNG bomb": (lambda m: png_bomb(60_000), {"name": "a.png"}, "at most 300,000,000 px"),
    "PNG of half the limit": (lambda m: png_bomb(12_000), {"name": "a.png", "pixel_size": "1"}, "damaged image"),
    "truncated PNG": (
        lambda m: png((GOOD * 9).astype(np.uint8))[:2000], {"name": "a.png", "pixel_size": "4"}, "damaged image",
    ),
    "truncated TIFF": (lambda m: tiff(GOOD)[:900], {"name": "a.tif"}, "truncated"),
    "TIFF of three pages": (lambda m: tiff(np.stack([GOOD] * 3), photometric="minisblack"), {"name": "a.tif"}, "stack"),
    "complex TIFF": (lambda m: tiff(GOOD.astype(np.complex64)), {"name": "a.tif", "pixel_size": "4"}, "complex"),
    "one-dimensional": (lambda m: tiff(GOOD[:1]), {"name": "a.tif", "pixel_size": "4"}, "only 208 × 1 px"),
    "tiny": (lambda m: png(np.eye(20, dtype=np.uint8)), {"name": "a.png", "pixel_size": "4"}, "only 20 × 20 px"),
    "compressed": (gzip.compress, {"name": "a.mrc.gz"}, "compressed file; decompress it first"),
    "no pixel size": (lambda m: png((GOOD * 9).astype(np.uint8)), {"name": "a.png"}, "no pixel size; enter it in Å/px"),
    "pixel size is a word": (lambda m: m, {"pixel_size": "small"}, "'small' is not a positive number"),
    "pixel size is negative": (lambda m: m, {"pixel_size": "-1"}, "'-1' is not a positive number"),
    "pixel size is NaN": (lambda m: m, {"pixel_size": "nan"}, "'nan' is not a positive number"),
    "pixel size of a map": (lambda m: m, {"pixel_size": "5000"}, "the given pixel size 5000 is not between"),
    "diameter is a word": (lambda m: m, {"diameter": "big"}, "Particle diameter: 'big'"),
    "unreadable coordinates": (lambda m: m, {"coordinates": ("p.star", b"data_\nloop_\n_x\n")}, "p.star: "),
    "coordinates of unknown format": (lambda m: m, {"coordinates": ("p.xlsx", b"PK")}, "unknown format"),
    "no coordinates": (lambda m: m, {"coordinates": ("p.box", b"")}, "has no coordinates"),
    "coordinates without a size": (
        lambda m: m, {"coordinates": ("p.star", b"data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n20 30\n")},
        "the particle diameter is not known; enter it in Å",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    place = make_test_place(tmp_path_factory.mktemp("serve") / "own")
    with client_of(place) as client:
        client.place = place
        yield client


def upload(client, content, name="mic.mrc", coordinates=None, **fields):
    files = {} if content is None else {"micrograph": (name, content)}
    if coordinates:
        files["coordinates"] = coordinates
    if not files:
        return client.post("/api/try", files={"other": ("x", b"")})
    return client.post("/api/try", files=files, data=fields)


@pytest.mark.parametrize("case", BAD)
def test_a_bad_upload_gets_one_sentence(case, client, tmp_path):
    change, options, words = BAD[case]
    answer = upload(client, change(mrc_bytes(tmp_path, GOOD)), **options)
    assert answer.status_code == 422, answer.text
    said = answer.json()["error"]
    assert re.search(words, said), said
    assert said.endswith(".") and "\n" not in said and said.count(". ") == 0
    assert "--" not in said and str(client.place.folder) not in said, said
    assert not list((client.place.folder / "uploads").iterdir()), "the upload is deleted"


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((160, 208), np.nan), "100 % of its pixels are NaN or infinite"),
        (np.full((160, 208), 7.0), "all pixels are 7"),
    ],
    ids=["NaN only", "constant"],
)
def test_an_image_without_data_is_refused_by_the_worker(image, words, client, tmp_path):
    answer = upload(client, mrc_bytes(tmp_path, image))
    assert answer.status_code == 422 and words in answer.json()["error"]
    assert "uploads" not in answer.json()["error"]


def test_a_full_disk_gets_a_sentence(client, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(try_routes.shutil, "copyfileobj", full)
    answer = upload(client, mrc_bytes(tmp_path, GOOD))
    assert answer.status_code == 500 and "No space left on device); free disk space" in answer.json()["error"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../etc/passwd", "passwd"), ("C:\\data\\mic.mrc", "mic.mrc"), (".hidden.mrc", "hidden.mrc"),
        ("a\0b\n.mrc", "a_b_.mrc"), ("", "micrograph"), ("x" * 300 + ".mrc", "x" * 116 + ".mrc"),
        ("漢" * 99 + ".mrc", "漢" * 38 + ".mrc"),
    ],
)  # fmt: skip
def test_names_of_uploads_have_no_folders(given, name):
    assert uploads.safe_name(given) == name
