# SPDX-License-Identifier: GPL-3.0-or-later
"""Check an uploaded image by its header, before anything decodes it, and turn errors into sentences for the page."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from typing import Any, Optional, Tuple

import tifffile
from PIL import Image

from cryoice_scipion.core.errors import CryoIceError, ImageError, PixelSizeError, SettingsError
from cryoice_scipion.core.images import mrc
from cryoice_scipion.core.images.compressed import is_compressed
from cryoice_scipion.core.images.stems import output_stem, stem_of

MOST_BYTES = 1 << 30
MOST_PIXELS = 200_000_000  # twice a super-resolution frame of the largest detector
_LEAST_SIDE = 64  # px
_PLAUSIBLE = (0.1, 100.0)  # Å/px
_OPTION = re.compile(r"\s*(?:with |\()?--[a-z-]+\)?")  # options of the command line
_NAME = re.compile(r"[^\w.@+ -]")


def safe_name(name: str) -> str:
    """Return the name of an uploaded file without folders and unusual characters."""
    base = re.split(r"[/\\]", name)[-1]
    return _NAME.sub("_", base).lstrip(".")[-120:] or "micrograph"


def stem_for(name: str) -> str:
    """Return the stem that names the results of an uploaded file."""
    return output_stem(stem_of(name))


def check_size(path: Path) -> None:
    """Refuse an image whose header states too many or too few pixels.

    Raises
    ------
    ImageError
        When the size is not within the limits, or the file is compressed.
    """
    with open(path, "rb") as stream:
        head = stream.read(mrc.HEADER_BYTES)
    if is_compressed(head):
        raise ImageError(path, "is a compressed file", "decompress it first")
    size = _size(path, head)
    if size is None:  # the reader says what is wrong
        return
    rows, columns = size
    if rows * columns > MOST_PIXELS:
        reason = f"states {columns:,} × {rows:,} px, more than {MOST_PIXELS // 1_000_000} million pixels"
        raise ImageError(path, reason, "give one micrograph, binned if necessary")
    if min(rows, columns) < _LEAST_SIDE:
        reason = f"has only {columns:,} × {rows:,} px"
        raise ImageError(path, reason, f"give a micrograph of at least {_LEAST_SIDE} px a side")


def _size(path: Path, head: bytes) -> Optional[Tuple[int, int]]:
    """Return rows and columns as the header states them; None if it cannot be read. Decodes no pixel."""
    try:
        if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            with tifffile.TiffFile(path) as tiff:
                page: Any = tiff.pages[0]
                return int(page.imagelength), int(page.imagewidth)
        if head[:4] == b"\x89PNG" or head[:3] == b"\xff\xd8\xff":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's own, smaller limit
                with Image.open(path) as image:
                    return image.height, image.width
        if mrc.looks_like_mrc(head):
            header = mrc.read_header(path)
            return header.rows, header.columns
    except Image.DecompressionBombError:
        return MOST_PIXELS, MOST_PIXELS
    except ImageError:
        raise
    except Exception:  # the libraries raise many kinds for damaged files
        return None
    return None


def number_of(text: str, name: str, unit: str) -> Optional[float]:
    """Return the number in a field of the form; None if the field is empty.

    Raises
    ------
    SettingsError
        When it is not a positive number.
    """
    if not text.strip():
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise SettingsError(name, f"'{text.strip()[:40]}' is not a positive number", f"enter it in {unit}")
    return value


def check_pixel_size(value: Optional[float]) -> None:
    """Refuse a pixel size that no micrograph has.

    Raises
    ------
    PixelSizeError
        When it is implausible.
    """
    low, high = _PLAUSIBLE
    if value is not None and not low <= value <= high:
        reason = f"{value:g} Å/px is not plausible"
        raise PixelSizeError("Pixel size", reason, f"enter a number from {low:g} to {high:g} Å/px")


def sentence(error: CryoIceError, hidden: Path) -> str:
    """Return an error as one sentence of the page: without folders of the server and options of the command line.

    Parameters
    ----------
    hidden : pathlib.Path
        The folder of uploads, which the user does not know.
    """
    text = _OPTION.sub("", error.reason + (f"; {error.remedy}" if error.remedy else ""))
    text = f"{error.what}: {text}".replace("give it in", "enter it in")
    text = re.sub(rf"{re.escape(str(hidden))}/(?:[^\s:;]*/)?", "", text)
    return text + ("" if text.endswith(".") else ".")
