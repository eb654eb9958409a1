# SPDX-License-Identifier: GPL-3.0-or-later
"""Compressed images have the pixels and the pixel size of plain ones; damaged ones are one line."""

import bz2
import gzip

import mrcfile
import numpy as np
import pytest
import tifffile
from PIL import Image

from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images.naming import micrograph_files, stem_of
from cryoice_scipion.core.images.reading import is_image_name, read_micrograph, resolve_pixel_size

PIXELS = np.arange(48, dtype=np.uint8).reshape(6, 8)
PACK = {".gz": gzip.compress, ".bz2": bz2.compress}


def write(path):
    if path.suffix in (".mrc", ".mrcs"):
        with mrcfile.new(path) as mrc:
            mrc.set_data(PIXELS.astype(np.float32))
            mrc.voxel_size = 1.5
    elif path.suffix == ".png":
        Image.fromarray(PIXELS).save(path)
    else:
        tifffile.imwrite(path, PIXELS)
    return path


@pytest.mark.parametrize("packed", list(PACK))
@pytest.mark.parametrize("name", ["a.b.mrc", "a.mrcs", "a.tif", "a.tiff", "a.png"])
def test_a_compressed_image_is_read_in_memory(tmp_path, name, packed):
    plain = write(tmp_path / name)
    path = tmp_path / (name + packed)
    path.write_bytes(PACK[packed](plain.read_bytes()))
    plain.unlink()
    found = read_micrograph(path)
    assert found.as_float32().tolist() == PIXELS.tolist()
    if ".mrc" in name:
        assert resolve_pixel_size(found, None)[0] == 1.5
    assert micrograph_files(tmp_path) == [path] and stem_of(str(path)) == name.rpartition(".")[0]


def test_a_frame_of_a_compressed_stack_is_read(tmp_path):
    with mrcfile.new(tmp_path / "s.mrcs.gz", compression="gzip") as mrc:
        mrc.set_data(np.stack([PIXELS, PIXELS + 1]).astype(np.float32))
    assert read_micrograph(f"2@{tmp_path}/s.mrcs.gz").as_float32()[0, 0] == 1
    assert stem_of("2@x/s.mrcs.gz") == "s_2"
    with pytest.raises(ImageError, match="stack or volume of 2 sections"):
        read_micrograph(tmp_path / "s.mrcs.gz")


@pytest.mark.parametrize("packed", list(PACK))
@pytest.mark.parametrize("change", ["cut", "flip", "inside"])
def test_a_damaged_compressed_image_is_one_line(tmp_path, packed, change):
    plain = write(tmp_path / "a.mrc").read_bytes()
    whole = PACK[packed](plain[:-100] if change == "inside" else plain)
    damaged = {"cut": whole[: len(whole) // 2], "flip": whole[:30] + bytes([whole[30] ^ 255]) + whole[31:]}
    (tmp_path / f"b.mrc{packed}").write_bytes(damaged.get(change, whole))
    with pytest.raises(ImageError) as caught:
        read_micrograph(tmp_path / f"b.mrc{packed}")
    assert "\n" not in str(caught.value) and f"b.mrc{packed}" in str(caught.value) and caught.value.remedy


@pytest.mark.parametrize(
    ("name", "is_image"),
    [
        ("a.MRC", True),
        ("a.mrc.GZ", True),
        ("a.gz", False),
        ("a.star.gz", False),
        ("mrc.gz", False),
        ("a.tif.bz2", True),
    ],
)
def test_which_names_are_images(name, is_image):
    assert is_image_name(name) == is_image
