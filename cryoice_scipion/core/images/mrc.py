# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the MRC format: header, pixel size and pixels.

The layout of the header is that of mrcfile (MRC2014, Cheng et al. 2015, doi 10.1016/j.jsb.2015.04.002). The file is not
opened by ``mrcfile``, because old files lack the MAP stamp and have a missing or wrong machine stamp. Their byte
order is the one that gives plausible sizes.
"""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any, Optional, Tuple

import numpy as np
import numpy.typing as npt
from mrcfile.dtypes import HEADER_DTYPE

from cryoice_scipion.core.errors import ImageError
from cryoice_scipion.core.images.raw_pixels import read_raw

HEADER_BYTES = 1024
_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_UNUSABLE = {
    3: ("holds complex numbers (mode 3), a Fourier transform", "give the real-space image"),
    4: ("holds complex numbers (mode 4), a Fourier transform", "give the real-space image"),
    101: ("holds 4-bit counts (mode 101), a movie", "give the motion-corrected micrograph"),
}
_SAMPLE_BYTES = 1 << 20  # after the header; enough pixels to tell signed from unsigned bytes
_LARGEST_SIDE = 1_000_000
_IMOD_STAMP = 1146047817  # "IMOD" in the bytes 152 to 155; the flags follow
_IMOD_SIGNED_BYTES = 1


@dataclasses.dataclass
class MrcHeader:
    """The fields of an MRC header that are used."""

    columns: int
    rows: int
    sections: int
    dtype: np.dtype[Any]  # with the file's byte order
    offset: int  # bytes before the pixels
    pixel_size: Optional[float]  # Å/px as written, plausible or not; None: absent, or x and y differ


def looks_like_mrc(head: bytes) -> bool:
    """Return whether the first 1024 bytes of a file are a plausible MRC header."""
    return len(head) == HEADER_BYTES and any(_plausible(_fields(head, order)) for order in "<>")


def read_header(path: Path, data: Optional[bytes] = None) -> MrcHeader:
    """Read the header of an MRC file and check it against the length of the file.

    Parameters
    ----------
    path : pathlib.Path
        The file; named in errors.
    data : bytes, optional
        Its decompressed content, if the file is compressed.

    Raises
    ------
    ImageError
        When the file is not an MRC file, is truncated, or has a mode without real-space pixels.
    """
    size = path.stat().st_size if data is None else len(data)
    with path.open("rb") if data is None else io.BytesIO(data) as stream:
        head = stream.read(HEADER_BYTES)
        sample = stream.read(_SAMPLE_BYTES)
    if len(head) < HEADER_BYTES:
        raise ImageError(path, f"truncated: {size} bytes are less than an MRC header", "copy or make the file again")
    fields = _in_right_order(head, size)
    if not _plausible(fields):
        raise ImageError(path, "is not an MRC file: its header is not valid", "give an MRC, TIFF, PNG or JPEG image")
    mode = int(fields["mode"])
    if mode in _UNUSABLE:
        raise ImageError(path, *_UNUSABLE[mode])
    needed = _bytes_needed(fields)
    if size < needed:
        reason = f"truncated: {size} of {needed} bytes are there"
        raise ImageError(path, reason, "copy or make the file again, or wait until it is complete")
    dtype = np.dtype(_DTYPES[mode]).newbyteorder(fields.dtype["mode"].byteorder)
    if mode == 0 and _bytes_are_unsigned(head, fields, sample):
        dtype = np.dtype("u1")
    return MrcHeader(
        int(fields["nx"]), int(fields["ny"]), int(fields["nz"]), dtype, _offset(fields), _pixel_size(fields)
    )


def bytes_of_section(header: MrcHeader, section: int) -> Tuple[int, int]:
    """Return the byte at which a section (from 0) begins, and its number of bytes."""
    size = header.rows * header.columns * header.dtype.itemsize
    return header.offset + section * size, size


def read_section(path: Path, header: MrcHeader, section: int, data: Optional[bytes] = None) -> npt.NDArray[Any]:
    """Return one section (from 0), shape (rows, columns): a new array, or a view of ``data``."""
    offset, size = bytes_of_section(header, section)
    if data is not None:
        count = size // header.dtype.itemsize
        return np.frombuffer(data, header.dtype, count, offset).reshape(header.rows, header.columns)
    return read_raw(path, offset, (header.rows, header.columns), header.dtype)


def _fields(head: bytes, order: str) -> Any:
    return np.frombuffer(head, dtype=HEADER_DTYPE.newbyteorder(order))[0]


def _in_right_order(head: bytes, size: int) -> Any:
    """Return the header in the byte order that is plausible, fits the file size, and has the machine stamp."""
    stamp = bytes(_fields(head, "<")["machst"])
    stamped = {b"\x44": "<", b"\x11": ">"}.get(stamp[:1], "<")

    def merit(order: str) -> Tuple[bool, bool, bool]:
        fields = _fields(head, order)
        sensible = _plausible(fields)
        return sensible, sensible and _bytes_needed(fields) <= size, order == stamped

    return _fields(head, max("<>", key=merit))


def _plausible(fields: Any) -> bool:
    sides = [int(fields[name]) for name in ("nx", "ny", "nz")]
    modes = (*_DTYPES, *_UNUSABLE)
    return all(0 < n <= _LARGEST_SIDE for n in sides) and int(fields["mode"]) in modes and int(fields["nsymbt"]) >= 0


def _offset(fields: Any) -> int:
    return HEADER_BYTES + int(fields["nsymbt"])


def _bytes_needed(fields: Any) -> int:
    pixels = int(fields["nx"]) * int(fields["ny"]) * int(fields["nz"])
    return _offset(fields) + pixels * np.dtype(_DTYPES.get(int(fields["mode"]), "i1")).itemsize


def _bytes_are_unsigned(head: bytes, fields: Any, sample: bytes) -> bool:
    """Return whether bytes are unsigned. MRC2014 uses signed bytes, IMOD writes a flag, old programs use unsigned ones.

    If the header has no statistics, the reading with the smaller spread of pixels counts: the other one tears grey
    levels apart.

    https://bio3d.colorado.edu/imod/doc/mrc_format.txt
    """
    order = fields.dtype["mode"].byteorder
    stamp, flags = np.frombuffer(head, dtype=np.dtype("i4").newbyteorder(order), count=2, offset=152)
    if stamp == _IMOD_STAMP:
        return not int(flags) & _IMOD_SIGNED_BYTES
    if fields["dmin"] < fields["dmax"]:
        return bool(fields["dmax"] > 127 and fields["dmin"] >= 0)
    pixels = np.frombuffer(sample[int(fields["nsymbt"]) :], dtype=np.uint8)
    if pixels.size == 0:
        return False
    spreads = np.std(pixels), np.std(pixels.view(np.int8))
    return bool(spreads[0] < spreads[1] or pixels.min() > 127)


def _pixel_size(fields: Any) -> Optional[float]:
    """Return cell / grid in Å/px; None if x and y do not agree within 1 %."""
    cell = [float(fields["cella"][axis]) for axis in "xy"]
    grid = [int(fields["mx"]), int(fields["my"])]
    if min(grid) <= 0 or not np.all(np.isfinite(cell)) or min(cell) <= 0:
        return None
    x, y = cell[0] / grid[0], cell[1] / grid[1]
    return x if abs(x - y) <= 0.01 * max(x, y) else None
