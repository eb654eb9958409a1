# SPDX-License-Identifier: GPL-3.0-or-later
"""TIFF, PNG and JPEG give grey pixels, unflipped."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images.checks import check_pixels
from cryoice_scipion.core.images.reading import read_micrograph

GREY = (np.arange(64 * 80).reshape(64, 80) % 251).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}], ids=["plain", "zlib", "big"])
def test_tiff(tmp_path, dtype, options):
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(dtype), **options)
    np.testing.assert_array_equal(read_micrograph(tmp_path / "a.tif").as_float32(), GREY)


def test_tiff_compressed_as_only_pillow_can(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read_micrograph(tmp_path / "a.tif").as_float32(), GREY)


def test_tiff_pixel_size_from_its_resolution(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY, resolution=(1e8 / 1.25, 1e8 / 1.25), resolutionunit="CENTIMETER")
    assert read_micrograph(tmp_path / "a.tif").header_pixel_size == pytest.approx(1.25, rel=1e-3)
    tifffile.imwrite(tmp_path / "dpi.tif", GREY, resolution=(72, 72), resolutionunit="INCH")
    assert read_micrograph(tmp_path / "dpi.tif").header_pixel_size is None


def test_tiff_stack_and_its_frames(tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", np.stack([GREY, GREY // 2]), photometric="minisblack")
    with pytest.raises(ImageError, match="2 sections"):
        read_micrograph(tmp_path / "s.tif")
    np.testing.assert_array_equal(read_micrograph(f"2@{tmp_path / 's.tif'}").as_float32(), GREY // 2)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_colours_become_grey(tmp_path, name):
    colours = np.stack([GREY, GREY, GREY], axis=-1)
    Image.fromarray(colours).save(tmp_path / name)
    np.testing.assert_allclose(read_micrograph(tmp_path / name).as_float32(), GREY, atol=1)


@pytest.mark.parametrize("mode", ["L", "I;16", "P", "RGBA", "LA"])
def test_png_modes(tmp_path, mode):
    image = Image.fromarray(GREY.astype(np.uint16)) if mode == "I;16" else Image.fromarray(GREY).convert(mode)
    image.save(tmp_path / "a.png")
    np.testing.assert_allclose(read_micrograph(tmp_path / "a.png").as_float32(), GREY, atol=1)


def test_jpeg_is_not_turned_by_its_orientation_tag(tmp_path):
    smooth = np.add.outer(np.arange(64), np.arange(80)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95, exif=exif)
    image = read_micrograph(tmp_path / "a.jpg")
    assert image.header_pixel_size is None
    np.testing.assert_allclose(image.as_float32(), smooth, atol=4)


def test_frames_larger_than_pillows_cap(tmp_path, monkeypatch):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_micrograph(tmp_path / "a.png").shape == GREY.shape
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_truncated_pictures_are_one_clear_line(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    for size in (len(content) // 2, 40):
        (tmp_path / name).write_bytes(content[:size])
        with pytest.raises(ImageError, match=name):
            read_micrograph(tmp_path / name)


def test_pixels_that_are_not_finite_become_the_median():
    image = np.random.default_rng(0).normal(5, 1, (50, 50)).astype(np.float32)
    same, flags = check_pixels(image, "a.mrc")
    assert same is image and flags == []
    holes = image.copy()
    holes[:10, 0], holes[0, 1] = np.nan, np.inf
    filled, flags = check_pixels(holes, "a.mrc")
    assert flags == ["nan_pixels"] and np.isfinite(filled).all() and np.isnan(holes[0, 0])
    assert filled[0, 0] == pytest.approx(np.median(holes[np.isfinite(holes)]))
    assert filled.dtype == np.float32 and filled[20, 20] == image[20, 20]


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan, np.inf])
def test_images_without_information_are_errors(value):
    with pytest.raises(ImageError, match="a.mrc"):
        check_pixels(np.full((20, 20), value, dtype=np.float32), "a.mrc")


def test_constant_but_for_some_nan_is_an_error():
    image = np.full((20, 20), 3, dtype=np.float32)
    image[0] = np.nan
    with pytest.raises(ImageError, match="all pixels are 3"):
        check_pixels(image, "a.mrc")
