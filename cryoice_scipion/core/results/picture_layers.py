# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw a micrograph in a viewer in layers: grey levels, map of P(BAD), bad area. Row 0 is at the top."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any, Collection, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

from cryoice_scipion.constants import BORDER, CLASSES
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.errors import CryoIceError, ImageError
from cryoice_scipion.core.images.colour_table import TINT
from cryoice_scipion.core.images.loading import load_micrograph
from cryoice_scipion.core.images.palette import class_colour, rgb
from cryoice_scipion.core.images.thumbnails import grey_base, read_base
from cryoice_scipion.core.images.writing import read_map
from cryoice_scipion.core.maps import bad_area
from cryoice_scipion.core.records import MicrographRecord
from cryoice_scipion.core.results.run_folder import RunFolder

MAP_COLOUR = "#7b3294"  # differs from the colours of the classes
MASK_COLOUR = "#f0e442"  # of bad area with unknown classes
_MAP_MOST = 0.75  # share of the map's colour where P(BAD) is 1
_OUTLINE = 2  # px
DETAIL = 2048  # px, longest side of a grey picture that is made for a magnified view
LOW_PASSES = (5, 200)  # Å, range of its filter

Box = Tuple[float, float, float, float]  # left, top, right and bottom of a part of a micrograph, px of the micrograph

Array = NDArray[Any]


@dataclasses.dataclass
class Layers:
    """Hold the layers of one micrograph."""

    grey: Optional[NDArray[np.uint8]] = None  # (rows, columns), smaller than the micrograph
    width: float = 0.0  # of the micrograph, Å
    height: float = 0.0
    shape: Tuple[int, int] = (0, 0)  # rows and columns of the micrograph, px
    probability: Optional[Array] = None  # P(BAD) of each cell
    bad: Optional[NDArray[np.bool_]] = None  # of each cell
    sampling: float = 0.0  # Å, side of a cell
    codes: Optional[NDArray[np.uint8]] = None  # class of each cell, as an index into CLASSES; None: not known
    path: str = ""  # of the micrograph
    problems: List[str] = dataclasses.field(default_factory=list)  # one line for each layer that could not be read


def read_layers(folder: Path, record: MicrographRecord) -> Layers:
    """Read a micrograph's layers from a run's folder; a missing grey picture is made from the micrograph.

    Layers that cannot be read are left out, and ``problems`` says why.
    """
    layers, run = Layers(path=record.path), RunFolder(folder)
    pixel_size = record.pixel_size or 0.0
    if record.shape:
        layers.shape = (record.shape[0], record.shape[1])
        with contextlib.suppress(ImageError):
            layers.grey = read_base(run.path / run.base(record.stem))
    try:
        if layers.grey is None:
            loaded = load_micrograph(record.path, record.pixel_size)
            pixel_size, layers.shape = loaded.pixel_size, (loaded.image.shape[0], loaded.image.shape[1])
            layers.grey = grey_base(loaded.image, loaded.border, pixel_size)
        if record.probability:
            layers.probability, layers.sampling = read_map(run.path / record.probability)
        if record.mask:
            mask, layers.sampling = read_map(run.path / record.mask)
            layers.bad = mask == 0
            layers.codes = _read_classes(run.path / run.raw_map(record.stem), layers.bad, record.areas)
    except CryoIceError as error:
        layers.problems.append(str(error))
    layers.height, layers.width = layers.shape[0] * pixel_size, layers.shape[1] * pixel_size
    return layers


def read_grey(path: str, pixel_size: Optional[float], low_pass: float) -> NDArray[np.uint8]:
    """Return the grey picture of a micrograph in more detail than the stored one, with another low-pass filter.

    Parameters
    ----------
    pixel_size : float, optional
        Å/px of the micrograph. None: from the header.
    low_pass : float
        Full width at half maximum of the filter, Å.

    Raises
    ------
    CryoIceError
        When the micrograph cannot be read.
    """
    loaded = load_micrograph(path, pixel_size)
    grey: NDArray[np.uint8] = grey_base(loaded.image, loaded.border, loaded.pixel_size, DETAIL, low_pass)
    return grey


def _read_classes(path: Path, bad: NDArray[np.bool_], found: Collection[str]) -> Optional[NDArray[np.uint8]]:
    """Return the likeliest class of each bad cell; None if there is no stored class map of the same shape.

    The session's offset is not needed: it does not change the order of the bad classes. Classes that were not ``found``
    on the micrograph may have been ignored by the settings, so they are ignored here too.
    """
    try:
        classmap = ClassMap.load(path)
        missing = [name for name in [*classmap.classes, BORDER] if name not in found]
        cells = bad_area.probabilities(classmap, 0.0, missing)
    except CryoIceError:
        return None  # the bad area is shown without classes
    return bad_area.class_of_cells(cells, ~bad) if cells.border.shape == bad.shape else None


def paint(
    layers: Layers,
    size: Tuple[int, int],
    with_map: bool,
    with_mask: bool,
    box: Optional[Box] = None,
    contrast: float = 1.0,
) -> Image.Image:
    """Return the picture at a given size.

    Parameters
    ----------
    layers : Layers
        With a grey picture.
    size : (int, int)
        Width and height, px.
    with_map, with_mask : bool
        Whether P(BAD) is drawn as a tint, and the bad area with outlines: in the colours of the classes, or in one
        where they are not known. The bad area is tinted where the map is not.
    box : (float, float, float, float), optional
        The part of the micrograph to show; None: all of it.
    contrast : float
        Factor by which grey levels differ more from the middle one.

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    box = box or (0.0, 0.0, float(layers.shape[1]), float(layers.shape[0]))
    whole = np.asarray(layers.grey)
    across, down = whole.shape[1] / layers.shape[1], whole.shape[0] / layers.shape[0]
    part = _inside((box[0] * across, box[1] * down, box[2] * across, box[3] * down), whole.shape)
    grey = np.asarray(Image.fromarray(whole).resize(size, Image.BILINEAR, box=part), dtype=np.float32)
    if contrast != 1.0:
        grey = np.clip(128 + contrast * (grey - 128), 0, 255)
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    if with_map and layers.probability is not None:
        share = _MAP_MOST * _spread(layers, layers.probability, size, box).clip(0, 1)
        picture += share[:, :, None] * (np.array(rgb(MAP_COLOUR), dtype=np.float32) - picture)
    if with_mask and layers.bad is not None:
        bad = _spread(layers, layers.bad, size, box) > 0.5
        codes = np.zeros(bad.shape) if layers.codes is None else _spread(layers, layers.codes, size, box)
        for code in np.unique(codes[bad]).astype(int):
            name = MASK_COLOUR if layers.codes is None else class_colour(CLASSES[code])
            area, colour = bad & (codes == code), np.array(rgb(name), dtype=np.float32)
            inner = binary_erosion(area, iterations=_OUTLINE, border_value=1)
            if not with_map:  # two tints together would say neither
                picture[inner] += TINT * (colour - picture[inner])
            picture[area & ~inner] = colour
    return Image.fromarray(np.rint(picture).astype(np.uint8))


def _spread(layers: Layers, cells: Array, size: Tuple[int, int], box: Box) -> Array:
    """Return the cell under each pixel of the picture; the last cells reach beyond the micrograph."""
    step = layers.width / layers.shape[1] / layers.sampling  # cells per px of the micrograph
    part = _inside((box[0] * step, box[1] * step, box[2] * step, box[3] * step), cells.shape)
    return np.asarray(Image.fromarray(cells.astype(np.float32)).resize(size, Image.NEAREST, box=part))


def _inside(box: Box, shape: Sequence[int]) -> Box:
    """Return a box cut at the edges of an array; Pillow accepts no other."""
    return max(box[0], 0.0), max(box[1], 0.0), min(box[2], shape[1]), min(box[3], shape[0])
