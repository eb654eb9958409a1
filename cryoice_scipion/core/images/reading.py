# SPDX-License-Identifier: GPL-3.0-or-later
"""Read one micrograph from a file of any supported format. Images are never flipped: row 0 is y = 0."""

from __future__ import annotations

import dataclasses
import io
import logging
import math
import os
import re
import threading
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple, Union

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from cryoice_scipion.constants import PIXEL_SIZE_DIFFERS, PIXEL_SIZES
from cryoice_scipion.core.errors import ImageError, PixelSizeError
from cryoice_scipion.core.images import mrc
from cryoice_scipion.core.images.compressed import COMPRESSIONS, decompressed, is_compressed
from cryoice_scipion.core.images.raw_pixels import read_raw

SUFFIXES = (".mrc", ".mrcs", ".tif", ".tiff", ".png", ".jpg", ".jpeg")
_FRAME = re.compile(r"^(\d+)@(.+)$")
_BYTE = re.compile(rb"%([0-9A-F]{2})")
_FORMATS = "give an MRC, TIFF, PNG or JPEG image"
_PLAUSIBLE = (0.2, 20.0)  # Å/px
_UNSET = 1.0  # Å/px: written by many programs when the pixel size is unknown
_TOLERANCE = 0.05  # relative difference above which two pixel sizes contradict each other
_MOST_PIXELS = 300_000_000  # 11520 × 8184 px, the largest camera, three times; Pillow's own cap is lower
_PILLOW_CAP = threading.Lock()
Pixels = npt.NDArray[Any]
Opened = Tuple[Tuple[int, ...], Callable[[], Pixels]]  # the shape, and a function that returns the pixels
logging.getLogger("tifffile").addHandler(logging.NullHandler())  # a damaged file is one error, not a line for each tag
_GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's "L"


@dataclasses.dataclass
class Micrograph:
    """An image file that was opened, and the pixel size in its header."""

    path: str
    shape: Tuple[int, int]  # rows, columns
    read: Callable[[], Pixels]  # returns the pixels: any real dtype and byte order
    header_pixel_size: Optional[float] = None  # Å/px; None: not plausible
    stated_pixel_size: Optional[float] = None  # Å/px as written in the header, plausible or not

    def as_float32(self) -> npt.NDArray[np.float32]:
        """Return the pixels as a new float32 array in memory, C-contiguous; NaN and infinity are kept."""
        pixels = self.read()
        if pixels.dtype == np.float32 and pixels.flags.carray:  # new, since what is kept is not writeable
            return pixels
        with np.errstate(over="ignore", invalid="ignore"):
            return np.array(pixels, dtype=np.float32, order="C")


def read_micrograph(path: Union[str, Path]) -> Micrograph:
    """Open one micrograph. The format is determined from the content, not from the name.

    ``.gz`` and ``.bz2`` files are decompressed in memory.

    Parameters
    ----------
    path : str or Path
        A file, or ``12@stack.mrcs`` for frame 12 (from 1) of a stack.

    Raises
    ------
    ImageError
        When the file is missing, empty or truncated, or is not an image, a stack or volume, or complex.
    """
    frame, file = split_frame(str(path))
    head = _first_bytes(file)
    try:
        data = decompressed(file) if is_compressed(head) else None
        head = head if data is None else data[: mrc.HEADER_BYTES]
        if is_tiff(head):
            opened, stated = _open_tiff(file, frame, data)
        elif head[:4] == b"\x89PNG" or head[:3] == b"\xff\xd8\xff":
            opened, stated = _open_pillow(file, frame, data), None
        elif mrc.looks_like_mrc(head) or _uncompressed(file.name).endswith((".mrc", ".mrcs")):
            opened, stated = _open_mrc(file, frame, data)
        else:
            raise ImageError(file, "is not an image of a known format", _FORMATS)
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error.strerror or error})", "copy or make the file again") from None
    shape, read = opened
    if len(shape) != 2 or 0 in shape:
        raise ImageError(path, f"is not a two-dimensional image (shape {shape})", "give one micrograph")
    return Micrograph(str(path), (shape[0], shape[1]), read, _plausible(stated), stated)


def is_image_name(name: str) -> bool:
    """Return whether a file is an image, by its extension; ".mrc.gz" is one too."""
    return os.path.splitext(_uncompressed(name))[1] in SUFFIXES


def is_tiff(head: bytes) -> bool:
    """Return whether a file is a TIFF, by its first bytes."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def resolve_pixel_size(micrograph: Micrograph, given: Optional[float]) -> Tuple[float, List[str]]:
    """Return the pixel size to use in Å/px, and flags for the record.

    The given pixel size has priority. Flags: ``pixel_size_differs=1.77`` if the header has the plausible value 1.77 and
    it differs by more than 5 %; ``header_pixel_size_1.0`` if the header has exactly 1.0 and the given one differs.

    Raises
    ------
    PixelSizeError
        When neither pixel size is usable.
    """
    header = micrograph.header_pixel_size
    if given is not None:
        check_pixel_size(micrograph.path, given)
        if header is not None and _differ(header, given):
            return given, [f"{PIXEL_SIZE_DIFFERS}={header:g}"]
        stated = micrograph.stated_pixel_size
        if stated is not None and _is_unset(stated) and _differ(stated, given):
            return given, ["header_pixel_size_1.0"]
        return given, []
    if header is None:
        stated = micrograph.stated_pixel_size
        says = "has no pixel size" if not stated else f"has an implausible pixel size of {stated:.4g} Å/px"
        raise PixelSizeError(micrograph.path, f"the header {says}", "give it in Å/px (--pixel-size)")
    return header, []


def check_pixel_size(name: str, size: float) -> None:
    """Raise PixelSizeError if a pixel size in Å/px that somebody gave cannot be that of a micrograph."""
    if not PIXEL_SIZES[0] <= size <= PIXEL_SIZES[1]:
        reason = f"the given pixel size {size:g} is not between {PIXEL_SIZES[0]:g} and {PIXEL_SIZES[1]:g} Å/px"
        raise PixelSizeError(name, reason, "give it in Å/px")


def split_frame(path: str) -> Tuple[Optional[int], Path]:
    """Split ``12@stack.mrcs``, unless a file of that name exists; find the file that a plain path stands for."""
    found = _FRAME.match(path)
    if found is None or os.path.exists(path):
        return None, file_of(path)
    return int(found.group(1)), file_of(found.group(2))


def file_of(path: str) -> Path:
    """Return the file that :func:`~.stems.plain_path` gave this path, if it gave it any other."""
    if "%" in path and not os.path.exists(path):
        original = _BYTE.sub(lambda byte: bytes([int(byte.group(1), 16)]), os.fsencode(path))
        if os.path.exists(original):
            return Path(os.fsdecode(original))
    return Path(path)


def _uncompressed(name: str) -> str:
    """Return a file name in lower case, without the extension of a compression."""
    base, extension = os.path.splitext(name.lower())
    return base if extension in COMPRESSIONS else name.lower()


def _first_bytes(file: Path) -> bytes:
    try:
        if file.is_dir():
            raise ImageError(file, "is a folder, not an image", "give the files in it")
        with file.open("rb") as stream:
            head = stream.read(mrc.HEADER_BYTES)
    except FileNotFoundError:
        raise ImageError(file, "there is no such file", "check the path") from None
    except OSError as error:
        raise ImageError(file, f"cannot be opened ({error.strerror or error})", "check its permissions") from None
    if not head:
        raise ImageError(file, "is empty (0 bytes)", "copy or make the file again")
    return head


def _section(file: Path, frame: Optional[int], count: int) -> int:
    """Return the index of the section to read, from 0."""
    if frame is None:
        if count == 1:
            return 0
        remedy = f"give one image a file, or one frame as 1@{file.name}"
        raise ImageError(file, f"is a stack or volume of {count} sections, not one micrograph", remedy)
    if not 1 <= frame <= count:
        raise ImageError(file, f"has {count} sections, there is no frame {frame}", "frames count from 1")
    return frame - 1


def _open_mrc(file: Path, frame: Optional[int], data: Optional[bytes]) -> Tuple[Opened, Optional[float]]:
    header = mrc.read_header(file, data)
    section = _section(file, frame, header.sections)
    shape = _affordable(file, (header.rows, header.columns))
    return (shape, lambda: mrc.read_section(file, header, section, data)), header.pixel_size


def _open_tiff(file: Path, frame: Optional[int], data: Optional[bytes]) -> Tuple[Opened, Optional[float]]:
    try:
        with tifffile.TiffFile(file if data is None else io.BytesIO(data)) as tiff:
            number = _section(file, frame, len(tiff.pages))
            page: Any = tiff.pages[number]
            if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
                return _open_pillow(file, frame, data), None
            if page.dtype is not None and page.dtype.kind == "c":
                raise ImageError(file, "holds complex numbers", "give the real-space image")
            _affordable(file, (page.imagelength, page.imagewidth))
            stated, shape = _tiff_pixel_size(page), page.shape
            if data is None and page.is_memmappable and page.ndim == 2:
                offset, dtype = page.dataoffsets[0], page.dtype.newbyteorder(tiff.byteorder)
                if offset + page.nbytes > tiff.filehandle.size:
                    raise ImageError(file, "is truncated", "copy or make the file again, or wait until it is complete")
                rows, columns = shape
                return (shape, lambda: read_raw(file, offset, (rows, columns), dtype)), stated
            return _opened(_grey(page.asarray())), stated
    except ImageError:
        raise
    except Exception as error:  # tifffile and its codecs raise many kinds
        if "imagecodecs" in str(error):
            return _open_pillow(file, frame, data), None  # LZW and the like, which Pillow knows
        raise ImageError(file, f"is a damaged TIFF ({_first_line(error)})", "copy or make the file again") from None


def _opened(pixels: Pixels) -> Opened:
    pixels.setflags(write=False)  # nobody changes what the next reader gets
    return pixels.shape, lambda: pixels


def _affordable(file: Path, shape: Tuple[int, ...]) -> Tuple[int, ...]:
    """Return the shape of an image, unless it has more pixels than any camera gives."""
    if math.prod(shape[:2]) > _MOST_PIXELS:
        size = " × ".join(map(str, shape))
        reason = f"has {size} px, and micrographs have at most {_MOST_PIXELS:,} px"
        raise ImageError(file, reason, "give a single micrograph, not a montage")
    return shape


def _tiff_pixel_size(page: Any) -> Optional[float]:
    """Return Å/px from the resolution tags; None if they are absent or x and y do not agree."""
    tags = [page.tags.get(name) for name in ("XResolution", "YResolution", "ResolutionUnit")]
    unit = {2: 2.54e8, 3: 1e8}.get(int(tags[2].value), 0.0) if tags[2] is not None else 0.0  # Å per inch, per cm
    if tags[0] is None or tags[1] is None or not unit:
        return None
    x, y = (numerator / denominator if denominator else 0.0 for numerator, denominator in (t.value for t in tags[:2]))
    return unit / x if x > 0 and abs(x - y) <= 0.01 * x else None


def _open_pillow(file: Path, frame: Optional[int], data: Optional[bytes]) -> Opened:
    try:
        with _PILLOW_CAP:
            cap, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # _affordable says it in words
            try:
                image = Image.open(file if data is None else io.BytesIO(data))
            finally:
                Image.MAX_IMAGE_PIXELS = cap
        with image:
            _affordable(file, image.size[::-1])
            image.seek(_section(file, frame, getattr(image, "n_frames", 1)))
            grey = image if image.mode in ("L", "F", "I") or image.mode.startswith("I;16") else image.convert("L")
            return _opened(np.asarray(grey))
    except ImageError:
        raise
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, EOFError, struct.error…
        raise ImageError(file, f"is a damaged image ({_first_line(error)})", "copy or make the file again") from None


def _grey(pixels: Pixels) -> Pixels:
    """Return a TIFF page as one plane: colours are combined to grey, an alpha plane is dropped."""
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        return pixels[..., :3].astype(np.float32) @ _GREY_WEIGHTS
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        return pixels[..., 0]
    return pixels


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _is_unset(size: float) -> bool:
    return abs(size - _UNSET) < 1e-6


def _plausible(size: Optional[float]) -> Optional[float]:
    if size is None or _is_unset(size) or not _PLAUSIBLE[0] <= size <= _PLAUSIBLE[1]:
        return None
    # Headers contain 32-bit floats: 1.77 reads as 1.76999998.
    return float(f"{size:.6g}")


def _differ(one: float, other: float) -> bool:
    return abs(one - other) > _TOLERANCE * max(one, other)
