# SPDX-License-Identifier: GPL-3.0-or-later
"""Every MRC file that programs have written since 1990 gives the pixels that were meant, or one clear line."""

import os
import struct

import mrcfile
import numpy as np
import pytest

from cryoice_scipion.core.errors import ImageError, PixelSizeError
from cryoice_scipion.core.images.reading import read_micrograph, resolve_pixel_size

RAMP = np.arange(48 * 40).reshape(48, 40) % 100


def write_mrc(path, pixels, order="<", mode=2, sections=1, nsymbt=0, pixel_size=1.5, stamp=True, extra=b""):
    """Write a header by hand, so that old and odd files can be made."""
    rows, columns = pixels.shape
    head = bytearray(1024)
    struct.pack_into(order + "10i", head, 0, columns, rows, sections, mode, 0, 0, 0, columns, rows, sections)
    struct.pack_into(order + "3f", head, 40, columns * pixel_size, rows * pixel_size, 1.0)
    struct.pack_into(order + "3f", head, 76, float(pixels.min()), float(pixels.max()), float(pixels.mean()))
    struct.pack_into(order + "i", head, 92, nsymbt)
    if stamp:
        head[208:212] = b"MAP "
        head[212:216] = b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0"
    kind = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}.get(mode, "i1")
    data = pixels.astype("u1" if mode == 0 and pixels.max() > 127 else np.dtype(kind).newbyteorder(order))
    path.write_bytes(bytes(head) + b"x" * nsymbt + data.tobytes() * sections + extra)
    return path


@pytest.mark.parametrize("stamp", [True, False], ids=["stamped", "old"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", [0, 1, 2, 6, 12])
@pytest.mark.parametrize("nsymbt", [0, 1312])
def test_modes_byte_orders_and_old_files(tmp_path, mode, order, stamp, nsymbt):
    image = read_micrograph(write_mrc(tmp_path / "a.mrc", RAMP, order, mode, nsymbt=nsymbt, stamp=stamp))
    pixels = image.as_float32()
    assert pixels.dtype == np.float32 and pixels.dtype.isnative and pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, RAMP)
    assert image.header_pixel_size == pytest.approx(1.5)


def test_byte_order_is_found_where_the_stamp_is_wrong(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", RAMP, ">", 1)
    data = bytearray(path.read_bytes())
    data[212:214] = b"\x44\x44"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_micrograph(path).as_float32(), RAMP)


def test_first_row_in_the_file_is_row_zero(tmp_path):
    pixels = np.zeros((32, 32), dtype=np.float32)
    pixels[0, 5] = 7
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(pixels)
    assert read_micrograph(tmp_path / "a.mrc").read()[0, 5] == 7


def test_a_file_that_changes_after_it_was_opened_is_an_error_and_never_ends_the_process(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", RAMP)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    image = read_micrograph(path)
    image.as_float32()[:] = 0  # a copy: the file stays
    np.testing.assert_array_equal(image.as_float32(), RAMP)
    os.truncate(path, os.path.getsize(path) - 1)
    with pytest.raises(ImageError, match=r"a.mrc.*became shorter while it was read"):
        image.as_float32()
    path.unlink()
    with pytest.raises(ImageError, match=r"a.mrc.*cannot be read"):
        image.as_float32()
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_an_image_larger_than_any_camera_is_refused_before_it_is_read(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", RAMP)
    with path.open("r+b") as stream:
        stream.write(np.array([20000, 20000], "<i4").tobytes())
        stream.truncate(1024 + 4 * 20000**2)  # sparse: it takes no room on the disk
    with pytest.raises(ImageError, match="20000 × 20000 px, and micrographs have at most 300,000,000 px"):
        read_micrograph(path)


@pytest.mark.parametrize("mark", [None, True, False], ids=["no stamp", "imod signed", "imod unsigned"])
def test_bytes_of_imod_and_old_programs(tmp_path, mark):
    high = RAMP + 100  # beyond what a signed byte holds
    path = write_mrc(tmp_path / "a.mrc", high, mode=0)
    data = bytearray(path.read_bytes())
    if mark is not None:
        struct.pack_into("<2i", data, 152, 1146047817, 1 if mark else 0)
    path.write_bytes(data)
    expected = high.astype(np.uint8).view(np.int8) if mark else high
    np.testing.assert_array_equal(read_micrograph(path).as_float32(), expected)


@pytest.mark.parametrize(("middle", "unsigned"), [(130, True), (128, True), (200, True), (0, False), (40, False)])
@pytest.mark.parametrize("statistics", [(0, 0, 0), (0, -1, -2)], ids=["zero", "marked as absent"])
def test_bytes_without_statistics_are_read_without_a_tear_in_the_grey_levels(tmp_path, middle, unsigned, statistics):
    levels = np.clip(np.random.default_rng(0).normal(middle, 15, (40, 60)).round(), -128, 255)
    path = write_mrc(tmp_path / "a.mrc", levels.astype(np.uint8 if unsigned else np.int8), mode=0, nsymbt=80)
    data = bytearray(path.read_bytes())
    struct.pack_into("<3f", data, 76, *statistics)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_micrograph(path).as_float32(), levels)


def test_stacks_give_single_frames_only(tmp_path):
    stack = np.stack([RAMP + n for n in range(3)]).astype(np.float32)
    with mrcfile.new(tmp_path / "s.mrcs") as mrc:
        mrc.set_data(stack)
        mrc.set_image_stack()
    np.testing.assert_array_equal(read_micrograph(f"2@{tmp_path / 's.mrcs'}").as_float32(), stack[1])
    with pytest.raises(ImageError, match="3 sections"):
        read_micrograph(tmp_path / "s.mrcs")
    with pytest.raises(ImageError, match="no frame 4"):
        read_micrograph(f"4@{tmp_path / 's.mrcs'}")
    with mrcfile.new(tmp_path / "one.mrcs") as mrc:
        mrc.set_data(stack[:1])
    assert read_micrograph(tmp_path / "one.mrcs").shape == RAMP.shape


@pytest.mark.parametrize(
    ("size", "believed"),
    [
        (1.77, True),
        (0.2, True),
        (1.0, False),
        (0.0, False),
        (-1.5, False),
        (0.1, False),
        (25.0, False),
        (np.nan, False),
    ],
)
def test_pixel_size_of_the_header_is_believed_where_it_can_be(tmp_path, size, believed):
    image = read_micrograph(write_mrc(tmp_path / "a.mrc", RAMP, pixel_size=size))
    assert (image.header_pixel_size is not None) == believed


def test_pixel_size_of_the_header_is_what_was_typed(tmp_path):
    """Headers hold 32 bit floats: 1.77 must not become 1.76999998, or Scipion and the command line would differ."""
    assert read_micrograph(write_mrc(tmp_path / "a.mrc", RAMP, pixel_size=1.77)).header_pixel_size == 1.77


def test_pixel_size_that_differs_between_x_and_y_is_not_believed(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", RAMP)
    data = bytearray(path.read_bytes())
    struct.pack_into("<f", data, 40, 40 * 3.0)
    path.write_bytes(data)
    assert read_micrograph(path).header_pixel_size is None


@pytest.mark.parametrize(
    ("header", "given", "used", "flags"),
    [
        (1.5, None, 1.5, []),
        (1.5, 1.52, 1.52, []),
        (1.5, 3.0, 3.0, ["pixel_size_differs=1.5"]),
        (1.0, 1.77, 1.77, ["header_pixel_size_1.0"]),
        (1.0, 1.0, 1.0, []),
        (0.0, 1.77, 1.77, []),
    ],
)
def test_given_pixel_size_wins_and_a_contradiction_is_flagged(tmp_path, header, given, used, flags):
    image = read_micrograph(write_mrc(tmp_path / "a.mrc", RAMP, pixel_size=header))
    assert resolve_pixel_size(image, given) == (pytest.approx(used), flags)


@pytest.mark.parametrize(("header", "given"), [(1.0, None), (0.0, None), (1.5, 0.0), (1.5, np.inf)])
def test_no_pixel_size_says_how_to_give_one(tmp_path, header, given):
    image = read_micrograph(write_mrc(tmp_path / "a.mrc", RAMP, pixel_size=header))
    with pytest.raises(PixelSizeError, match="give it in Å/px"):
        resolve_pixel_size(image, given)


def test_damaged_and_unusable_files_say_so_in_one_line(tmp_path):
    whole = write_mrc(tmp_path / "whole.mrc", RAMP).read_bytes()
    cases = {
        "short.mrc": (whole[:-1], "truncated"),
        "header.mrc": (whole[:500], "truncated"),
        "empty.mrc": (b"", "empty"),
        "text.mrc": (b"this is no image at all\n" * 100, "not an MRC file"),
        "notes.txt": (b"this is no image at all\n" * 100, "not an image"),
    }
    for mode, word in ((4, "complex"), (3, "complex"), (101, "4-bit")):
        cases[f"mode{mode}.mrc"] = (write_mrc(tmp_path / "m.mrc", RAMP, mode=mode).read_bytes() + bytes(20000), word)
    for name, (content, word) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=word) as caught:
            read_micrograph(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value) and caught.value.remedy
    with pytest.raises(ImageError, match="no such file"):
        read_micrograph(tmp_path / "missing.mrc")
    with pytest.raises(ImageError, match="folder"):
        read_micrograph(tmp_path)


def test_bytes_after_the_pixels_do_not_matter(tmp_path, recwarn):
    image = read_micrograph(write_mrc(tmp_path / "a.mrc", RAMP, extra=b"more" * 9))
    np.testing.assert_array_equal(image.as_float32(), RAMP)
    assert not recwarn.list
