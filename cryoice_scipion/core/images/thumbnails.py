# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw the thumbnail of a micrograph: grey image, bad areas tinted by class, kept and rejected coordinates.

Row 0 is at the top. The grey base image is stored separately, so that the thumbnail can be drawn again for new
coordinates without reading the micrograph.
"""

from __future__ import annotations

import dataclasses
import io
import zlib
from pathlib import Path
from typing import Any, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy.ndimage import gaussian_filter

from cryoice_scipion.constants import CLASSES, GOOD
from cryoice_scipion.core.errors import ImageError, one_line
from cryoice_scipion.core.images.archives import read_stored
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.caption import Caption, add_caption, bar_length
from cryoice_scipion.core.images.colour_table import colour_table
from cryoice_scipion.core.images.grey_levels import STRETCH, grey_levels
from cryoice_scipion.core.images.grid import Frame, containing_cells
from cryoice_scipion.core.images.marks import PickMark, draw_picks
from cryoice_scipion.core.images.reducing import average, low_passed, nearest

SIDE = 1024  # px, longest side of a base
LOW_PASS = 20.0  # Å, full width at half maximum: micrographs of any pixel size look alike
BACKGROUND = 0.025  # share of the side: the background changes over longer distances than this
LEAST_BACKGROUND = 0.02  # share of the background that is always kept
_SAMPLE = 62_500  # pixels that percentiles are taken from
_LARGEST_STEP = 4.0  # px of a base: the filtered picture is computed at one pixel in at most this many
_ROUNDING = 1e-6  # share of the values: a smaller range of grey levels is none
QUALITY = 85  # of JPEG: a third of the size of PNG, without visible loss
_START_OF_JPEG, _END_OF_JPEG = b"\xff\xd8", b"\xff\xd9"
_COMMENT = b"\xff\xfe\x00\x06"  # a comment of four bytes, the checksum of the file without it
ROWS, BAR = "micrograph rows", "scale bar"  # texts in the PNG file: height without the caption in px; length in nm
NO_CAPTION = Caption()

Array = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class BadAreas:
    """The areas of a thumbnail that are tinted, each in the colour of its class."""

    classes: Array  # (rows, columns), uint8: class of each cell, an index into ``names``
    bad: Array  # same shape, bool: the cells that are tinted
    sampling: float  # side of a cell, Å; cell i covers [i·sampling, (i+1)·sampling) Å
    names: Sequence[str] = CLASSES


def grey_base(pixels: Array, border: Array, pixel_size: float, side: int = SIDE, low_pass: float = LOW_PASS) -> Array:
    """Return a small grey picture of a micrograph.

    The image is averaged down to ``side`` and low-pass filtered, and its grey levels are stretched between the
    0.5th and 99.5th percentile of the pixels that are not border. If the background (gold, thick ice) spans more grey
    levels than the particles and their noise, its range is compressed to the same number, so that particles beside it
    remain visible.

    Parameters
    ----------
    pixels : numpy.ndarray, (height, width), float32
        The micrograph, all finite.
    border : numpy.ndarray, (height, width), bool
        True where the micrograph has no data.
    pixel_size : float
        Å/px of the micrograph.
    side : int
        Longest side of the result, px. A smaller micrograph keeps its size.
    low_pass : float
        Full width at half maximum of the filter, Å.

    Returns
    -------
    numpy.ndarray, (rows, columns), uint8
        Rows are in the order of the micrograph.
    """
    shape = _reduced(pixels.shape, side)
    outside = nearest(border, shape) if border.any() else None
    sampling = pixel_size * pixels.shape[1] / shape[1]
    small = average(pixels.astype(np.float32, copy=False), shape)
    low, high = _limits(small, outside)
    if high - low <= _ROUNDING * max(abs(low), abs(high)):
        return np.full(shape, 128, dtype=np.uint8)
    small, outside = _low_pass(np.clip(small, low, high), outside, low_pass / 2.355 / sampling)
    small = _with_less_background(small, outside, shape)
    grey = Image.fromarray(grey_levels(small, *_limits(small, outside)))
    return np.array(grey.resize(shape[::-1], Image.LANCZOS))


def write_base(path: Path, grey: Array) -> None:
    """Write an image from :func:`grey_base` as a JPEG file, atomically, with a checksum in a comment."""
    buffer = io.BytesIO()
    Image.fromarray(grey, mode="L").save(buffer, format="JPEG", quality=QUALITY)
    content = buffer.getvalue()
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(_START_OF_JPEG + _COMMENT + _checksum(content) + content[2:])


def read_base(path: Path) -> Array:
    """Read an image that :func:`write_base` wrote; (rows, columns), uint8.

    Raises
    ------
    ImageError
        When the file is missing or damaged.
    """
    try:
        content = read_stored(Path(path))
        if content.startswith(_START_OF_JPEG) and not content.endswith(_END_OF_JPEG):
            raise OSError("ends too early")  # Pillow would accept a file that a power cut filled with zeros
        if content[2:6] == _COMMENT and content[6:10] != _checksum(content[:2] + content[10:]):
            raise OSError("its checksum differs")
        with Image.open(io.BytesIO(content)) as opened:
            return np.asarray(opened.convert("L"))
    except ImageError:
        raise
    except Exception as error:  # Pillow raises many kinds for damaged files
        reason = f"the stored picture cannot be read ({one_line(error) or type(error).__name__})"
        raise ImageError(path, reason, "screen this micrograph again") from None


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(4, "big")


def draw_thumbnail(
    base_path: Path,
    out_path: Path,
    areas: BadAreas,
    frame: Frame,
    picks: Sequence[PickMark] = (),
    caption: Caption = NO_CAPTION,
) -> None:
    """Draw the thumbnail of one micrograph and write it as a PNG file, atomically.

    Parameters
    ----------
    base_path : pathlib.Path
        Grey image that :func:`write_base` wrote.
    out_path : pathlib.Path
        The PNG file to write.
    areas : BadAreas
        The areas to tint.
    frame : Frame
        Shape and pixel size of the micrograph.
    picks : sequence of (x, y, kept)
        Centres in px of the micrograph. Kept coordinates are drawn as circles, the others as crosses.
    caption : Caption
        File name and bad area, written below the picture.
    """
    grey, names = read_base(base_path), areas.names
    seen = [code for code in np.unique(areas.classes[areas.bad]).tolist() if names[code] != GOOD]
    table = colour_table(tuple(names[code] for code in seen))
    numbers = _numbered(areas, seen, grey.shape, frame)
    picture = np.take(table.entries, (numbers.astype(np.uint16) << 8) | grey)
    draw_picks(picture, picks, frame.shape, table)
    kept = sum(1 for pick in picks if pick[2])
    legend = [(names[code], table.class_index(index)) for index, code in enumerate(seen)]
    scale = frame.pixel_size * frame.shape[1] / grey.shape[1]
    finished = add_caption(Image.fromarray(picture), scale, caption, (kept, len(picks) - kept), legend)
    finished.putpalette(table.colours.astype(np.uint8).tobytes())
    words = PngInfo()
    words.add_text(ROWS, str(grey.shape[0]))
    words.add_text(BAR, str(bar_length(grey.shape[1], scale)))
    with replacing(Path(out_path)) as temporary:  # noise hardly repeats: a search for repeats takes half of the time
        finished.save(temporary, format="PNG", compress_level=1, compress_type=zlib.Z_RLE, pnginfo=words)


def _reduced(shape: Sequence[int], side: int) -> Tuple[int, int]:
    """Return rows and columns with the longest side at most ``side``."""
    factor = max(1.0, max(shape) / side)
    return max(1, round(shape[0] / factor)), max(1, round(shape[1] / factor))


def _low_pass(image: Array, outside: Optional[Array], sigma: float) -> Tuple[Array, Optional[Array]]:
    """Smooth the pixels that are not outside, so that border values do not spread into them; sigma is in px.

    To save time, the result has only one pixel per ``sigma`` px of the image. These show all that the filter leaves.
    """
    step = min(max(1.0, sigma), _LARGEST_STEP)
    shape = max(1, round(image.shape[0] / step)), max(1, round(image.shape[1] / step))
    if outside is None:
        return low_passed(image, shape, sigma), None
    smooth = low_passed(np.where(outside, np.median(_some(image, outside)), image), shape, sigma)
    outside = nearest(outside, shape)
    return np.where(outside, nearest(image, shape), smooth), outside


def _with_less_background(image: Array, outside: Optional[Array], shape: Tuple[int, int]) -> Array:
    """Return the image with the range of its background reduced to that of its details, if it is larger.

    The background is smoothed at an eighth of ``shape``, for speed.
    """
    low, high = _limits(image, outside)
    clipped = np.clip(image, low, high)
    filled = clipped if outside is None else np.where(outside, np.median(_some(clipped, outside)), clipped)
    tiny = average(filled, (max(1, shape[0] // 8), max(1, shape[1] // 8)))
    smooth = Image.fromarray(gaussian_filter(tiny, BACKGROUND * max(tiny.shape)))
    background = np.array(smooth.resize(image.shape[::-1], Image.BICUBIC))
    fast = clipped - background
    slow = float(np.ptp(_limits(background, outside)))
    low, level, high = map(float, np.percentile(_some(fast, outside), (10, 50, 90)))
    wide = 2 * (high - low)  # for noise about the range of STRETCH; robust to edges
    if slow <= wide:
        return image
    share = max(wide / slow, LEAST_BACKGROUND)
    compressed: Array = np.clip(fast, level - wide, level + wide) + share * background
    return compressed


def _limits(image: Array, outside: Optional[Array]) -> Tuple[float, float]:
    """Return the values that become black and white; the outside counts only if there is nothing else."""
    low, high = np.percentile(_some(image, outside), STRETCH)
    return float(low), float(high)


def _some(image: Array, outside: Optional[Array]) -> Array:
    """Return the pixels that are not outside, of a large image a part of them; all pixels if there are none."""
    step = max(1, round((image.size / _SAMPLE) ** 0.5))
    if outside is None:
        return image[::step, ::step]
    some, inside = image[::step, ::step], ~outside[::step, ::step]
    if not inside.any():
        some, inside = image, ~outside
    return some[inside] if inside.any() else image


def _numbered(areas: BadAreas, seen: Sequence[int], shape: Sequence[int], frame: Frame) -> Array:
    """Return the number of the tint of each pixel of a thumbnail: 0 none, then a class; then the outline of a class."""
    cells = np.zeros(areas.bad.shape, dtype=np.uint8)
    for number, code in enumerate(seen, 1):
        cells[areas.bad & (areas.classes == code)] = number
    rows, columns = (
        containing_cells(small, full / small * frame.pixel_size, areas.sampling, count)
        for small, full, count in zip(shape, frame.shape, cells.shape)
    )
    numbers: Array = cells[:, columns][rows]
    if seen:
        numbers += np.uint8(len(seen)) * (_near_edges(numbers) & (numbers > 0))
    return numbers


def _near_edges(numbers: Array) -> Array:
    """Return whether a pixel with another number is within two steps up, down, left or right."""
    edges = np.zeros(numbers.shape, dtype=bool)
    down, across = numbers[1:] != numbers[:-1], numbers[:, 1:] != numbers[:, :-1]
    edges[1:] |= down
    edges[:-1] |= down
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    near = edges.copy()
    near[1:] |= edges[:-1]
    near[:-1] |= edges[1:]
    near[:, 1:] |= edges[:, :-1]
    near[:, :-1] |= edges[:, 1:]
    return near
