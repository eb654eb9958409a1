# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that declare huge images are refused before memory is taken; flipped bits in stored pictures are noticed."""

import bz2
import gzip
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.errors import CryoIceError, ImageError
from cryoice_scipion.core.images import compressed
from cryoice_scipion.core.images.reading import read_micrograph
from cryoice_scipion.core.images.thumbnails import read_base, write_base

SIDE = 40_000  # px, of the images that the files declare
GREY = np.random.default_rng(0).integers(0, 255, (24, 32)).astype(np.uint8)


def _encoded(**options):
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, **options)
    return buffer.getvalue()


def _png():
    head = b"IHDR" + struct.pack(">II", SIDE, SIDE) + b"\x08\x00\x00\x00\x00"
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + head
        + struct.pack(">I", zlib.crc32(head))
        + _encoded(format="PNG")[33:]
    )


def _jpeg():
    data = bytearray(_encoded(format="JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", SIDE, SIDE)
    return bytes(data)


def _tiff(**options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, GREY, **options)
    with tifffile.TiffFile(io.BytesIO(buffer.getvalue())) as tiff:
        places = [tiff.pages[0].tags[name].valueoffset for name in ("ImageWidth", "ImageLength")]
        sizes = [2 if tiff.pages[0].tags[name].dtype == 3 else 4 for name in ("ImageWidth", "ImageLength")]
    data = bytearray(buffer.getvalue())
    for place, size in zip(places, sizes):
        data[place : place + size] = SIDE.to_bytes(size, "little")
    return bytes(data)


def _mrc(mode=0):
    head = np.zeros(256, "<i4")
    head[:4] = SIDE, SIDE, 1, mode
    head[52] = int.from_bytes(b"MAP ", "little")
    return head.tobytes() + bytes(4096)


HUGE = {
    "a.png": _png(),
    "a.jpg": _jpeg(),
    "a.tif": _tiff(),
    "deflated.tif": _tiff(compression="zlib"),
    "a.mrc": _mrc(),
    "a.mrc.gz": gzip.compress(_mrc()),
    "a.mrc.bz2": bz2.compress(_mrc()),
    "a.png.gz": gzip.compress(_png()),
}


@pytest.mark.parametrize("name", list(HUGE))
def test_a_file_that_declares_a_huge_image_takes_no_memory(tmp_path, name):
    (tmp_path / name).write_bytes(HUGE[name])
    tracemalloc.start()
    try:
        with pytest.raises(ImageError) as caught:
            read_micrograph(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert name in str(caught.value) and ("at most 300,000,000 px" in str(caught.value) or "truncated" in str(caught))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_compressed_file_that_grows_without_end_is_refused(tmp_path, monkeypatch, pack):
    monkeypatch.setattr(compressed, "_MOST_BYTES", 100_000)
    (tmp_path / "a.mrc.gz").write_bytes(pack(bytes(10_000_000)))
    with pytest.raises(ImageError, match="more than 100,000 bytes when it is decompressed; decompress it first"):
        read_micrograph(tmp_path / "a.mrc.gz")


def _outcomes(path, read):
    """Return what reading gives with one flipped bit in each third byte: refused, the same, or another content."""
    data, sound = path.read_bytes(), read(path)
    found = set()
    for at in range(0, len(data), 3):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
        try:
            found.add("same" if np.array_equal(read(path), sound) else "other")
        except CryoIceError as error:
            assert str(path) in str(error) and error.remedy
            found.add("refused")
    return found


def test_a_flipped_bit_in_a_stored_picture_is_noticed(tmp_path):
    path = tmp_path / "base.jpg"
    write_base(path, GREY)
    assert _outcomes(path, read_base) == {"refused"}
    path.write_bytes(_encoded(format="JPEG"))  # as it was written by earlier versions
    assert read_base(path).shape == GREY.shape


def test_a_flipped_bit_in_a_stored_map_is_noticed(tmp_path):
    path = tmp_path / "map.npz"
    rng = np.random.default_rng(0)
    ClassMap(rng.normal(size=(2, 5, 6)).astype(np.float32), np.zeros((5, 6), bool), ["good", "bad"], 32.0, 0.0).save(
        path
    )
    assert "other" not in _outcomes(path, lambda file: ClassMap.load(file).logits)


def test_a_flipped_bit_in_a_png_is_noticed(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(_encoded(format="PNG"))
    assert "other" not in _outcomes(path, lambda file: read_micrograph(file).as_float32())
