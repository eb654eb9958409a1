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
from typing import Any, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from scipy.ndimage import binary_erosion, gaussian_filter

from cryoice_scipion.constants import CLASSES, GOOD
from cryoice_scipion.core.errors import ImageError, one_line
from cryoice_scipion.core.images.archives import read_stored
from cryoice_scipion.core.images.atomic import replacing
from cryoice_scipion.core.images.caption import Caption, add_caption, bar_length
from cryoice_scipion.core.images.grey_levels import STRETCH, grey_levels
from cryoice_scipion.core.images.grid import Frame, containing_cells
from cryoice_scipion.core.images.palette import KEPT, REJECTED, class_colour, rgb

SIDE = 1024  # px, longest side of a base
LOW_PASS = 20.0  # Å, full width at half maximum: micrographs of any pixel size look alike
BACKGROUND = 0.025  # share of the side: the background changes over longer distances than this
LEAST_BACKGROUND = 0.02  # share of the background that is always kept
TINT = 0.4  # share of the class colour in a bad area
MARK_RADIUS = 7.0  # px of the thumbnail
_SAMPLE = 62_500  # pixels that percentiles are taken from
COMPRESSION = 1  # level of PNG: files 12 % larger than with level 3, in three quarters of the time
QUALITY = 85  # of JPEG: a third of the size of PNG, without visible loss
_START_OF_JPEG, _END_OF_JPEG = b"\xff\xd8", b"\xff\xd9"
_COMMENT = b"\xff\xfe\x00\x06"  # a comment of four bytes, the checksum of the file without it
ROWS, BAR = "micrograph rows", "scale bar"  # texts in the PNG file: height without the caption in px; length in nm
HALO = (255, 255, 255, 230)
NO_CAPTION = Caption()

Array = NDArray[Any]
PickMark = Tuple[float, float, bool]  # x and y in px of the micrograph; whether the coordinate is kept


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
    size = _reduced(pixels.shape, side)
    small = _average(pixels.astype(np.float32, copy=False), size)
    outside = (
        _average(border.astype(np.uint8) * np.uint8(255), size) > 127 if border.any() else np.zeros_like(small, bool)
    )
    sampling = pixel_size * pixels.shape[1] / size[0]
    small = _low_pass(small, outside, low_pass / 2.355 / sampling)
    small = _with_less_background(small, outside)
    low, high = _limits(small, outside)
    if high <= low:
        return np.full(small.shape, 128, dtype=np.uint8)
    return grey_levels(small, low, high)


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
    grey, names, bad = read_base(base_path), areas.names, areas.bad
    cells = np.where(bad, areas.classes, names.index(GOOD) if GOOD in names else 0)
    codes = _to_pixels(cells, grey.shape, areas.sampling, frame)
    seen = [int(code) for code in np.unique(cells[bad])] if bad.any() else []
    picture = Image.fromarray(_tint(grey, codes, seen, names), mode="RGB").convert("RGBA")
    _draw_picks(picture, picks, frame.shape)
    kept = sum(1 for pick in picks if pick[2])
    legend = [(names[code], class_colour(names[code])) for code in seen]
    scale = frame.pixel_size * frame.shape[1] / grey.shape[1]
    finished = add_caption(picture, scale, caption, (kept, len(picks) - kept), legend)
    words = PngInfo()
    words.add_text(ROWS, str(grey.shape[0]))
    words.add_text(BAR, str(bar_length(grey.shape[1], scale)))
    with replacing(Path(out_path)) as temporary:
        finished.save(temporary, format="PNG", compress_level=COMPRESSION, pnginfo=words)


def _reduced(shape: Sequence[int], side: int) -> Tuple[int, int]:
    """Return width and height with the longest side at most ``side``."""
    factor = max(1.0, max(shape) / side)
    return max(1, round(shape[1] / factor)), max(1, round(shape[0] / factor))


def _average(image: Array, size: Tuple[int, int]) -> Array:
    picture = Image.fromarray(np.ascontiguousarray(image))
    factor = picture.width // size[0]
    if picture.size == (factor * size[0], factor * size[1]):
        return np.array(picture.reduce(factor))  # the same, faster
    return np.array(picture.resize(size, Image.BOX))


def _low_pass(image: Array, outside: Array, sigma: float) -> Array:
    """Smooth the pixels that are not outside, so that extreme border values do not spread into them; sigma is in px."""
    clipped = np.clip(image, *_limits(image, outside))
    level = np.median(_some(clipped, outside))
    smooth: Array = np.where(outside, clipped, gaussian_filter(np.where(outside, level, clipped), sigma))
    return smooth


def _with_less_background(image: Array, outside: Array) -> Array:
    """Return the image with the range of its background reduced to that of its details, if it is larger."""
    low, high = _limits(image, outside)
    clipped = np.clip(image, low, high)
    filled = np.where(outside, np.median(_some(clipped, outside)), clipped).astype(np.float32)
    tiny = _average(filled, (max(1, image.shape[1] // 8), max(1, image.shape[0] // 8)))  # for speed
    smooth = Image.fromarray(gaussian_filter(tiny, BACKGROUND * max(tiny.shape)))
    background = np.array(smooth.resize(image.shape[::-1], Image.BICUBIC))
    fast = clipped - background
    slow = np.ptp(np.percentile(_some(background, outside), STRETCH))
    wide = 2 * np.ptp(
        np.percentile(_some(fast, outside), (10, 90))
    )  # for noise about the range of STRETCH; robust to edges
    if slow <= wide:
        return image
    level = np.median(_some(fast, outside))
    compressed: Array = np.clip(fast, level - wide, level + wide) + max(wide / slow, LEAST_BACKGROUND) * background
    return compressed


def _limits(image: Array, outside: Array) -> Tuple[float, float]:
    """Return the values that become black and white; the outside counts only if there is nothing else."""
    low, high = np.percentile(_some(image, outside), STRETCH)
    return float(low), float(high)


def _some(image: Array, outside: Array) -> Array:
    """Return the pixels that are not outside, of a large image a part of them; all pixels if there are none."""
    step = max(1, round((image.size / _SAMPLE) ** 0.5))
    some, inside = image[::step, ::step], ~outside[::step, ::step]
    if not inside.any():
        some, inside = image, ~outside
    return some[inside] if inside.any() else image


def _to_pixels(cells: Array, size: Sequence[int], sampling: float, frame: Frame) -> Array:
    """Return the cell under each pixel of a thumbnail of ``size`` rows and columns."""
    rows, columns = (
        containing_cells(small, full / small * frame.pixel_size, sampling, count)
        for small, full, count in zip(size, frame.shape, cells.shape)
    )
    under: Array = cells[rows[:, None], columns[None, :]]
    return under


def _tint(grey: Array, codes: Array, seen: List[int], classes: Sequence[str]) -> Array:
    """Return the grey picture as RGB, with bad areas tinted and outlined."""
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    greys = np.arange(256, dtype=np.float32)[:, None]
    for code in seen:
        if classes[code] == GOOD:
            continue
        area = codes == code
        inner = binary_erosion(area, iterations=2, border_value=1)
        colour = np.array(rgb(class_colour(classes[code])), dtype=np.float32)
        tinted = np.rint(greys + TINT * (colour - greys)).astype(np.uint8)  # for each grey level, (256, 3)
        picture[inner] = tinted[grey[inner]]
        picture[area & ~inner] = colour
    return picture


def _draw_picks(picture: Image.Image, picks: Sequence[PickMark], shape: Sequence[int]) -> None:
    """Draw the rejected coordinates first, so that none hides a kept one."""
    marks = {True: _circle(), False: _cross()}
    for x, y, kept in sorted(picks, key=lambda pick: pick[2]):
        mark = marks[kept]
        left = round((x + 0.5) * picture.width / shape[1] - mark.width / 2)
        top = round((y + 0.5) * picture.height / shape[0] - mark.height / 2)
        if -mark.width < left < picture.width and -mark.height < top < picture.height:
            picture.paste(mark, (left, top), mark)


def _circle() -> Image.Image:
    mark, draw, centre, unit = _blank_mark()
    for colour, width, radius in ((HALO, 4.0, MARK_RADIUS + 1), (rgb(KEPT), 2.0, MARK_RADIUS)):
        reach = radius * unit
        box = (centre - reach, centre - reach, centre + reach, centre + reach)
        draw.ellipse(box, outline=colour, width=round(width * unit))
    return _smooth(mark, unit)


def _cross() -> Image.Image:
    mark, draw, centre, unit = _blank_mark()
    for colour, width, reach in ((HALO, 4.0, MARK_RADIUS * unit), (rgb(REJECTED), 2.0, (MARK_RADIUS - 1) * unit)):
        for down in (-1, 1):
            line = (centre - reach, centre - down * reach, centre + reach, centre + down * reach)
            draw.line(line, fill=colour, width=round(width * unit))
    return _smooth(mark, unit)


def _blank_mark() -> Tuple[Image.Image, ImageDraw.ImageDraw, float, int]:
    """Return a mark drawn four times too large, because Pillow's lines are not anti-aliased."""
    unit = 4
    side = (2 * int(MARK_RADIUS) + 5) * unit
    mark = Image.new("RGBA", (side, side), (255, 255, 255, 0))
    return mark, ImageDraw.Draw(mark), side / 2, unit


def _smooth(mark: Image.Image, unit: int) -> Image.Image:
    return mark.resize((mark.width // unit, mark.height // unit), Image.BOX)
