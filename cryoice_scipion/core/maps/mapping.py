# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the class map of a micrograph in memory; a run calls its detector only here. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence, Tuple

import numpy as np

from cryoice_scipion.constants import BORDER, PIXEL_SIZE_DIFFERS
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.errors import PixelSizeError
from cryoice_scipion.core.images.loading import LoadedMicrograph
from cryoice_scipion.core.records import MapResult

if TYPE_CHECKING:
    from cryoice_scipion.core.detectors.network_detector import Detector

BRIGHT = "bright"


def map_micrograph(
    detector: Detector, micrograph: LoadedMicrograph, name: str, contrast: str
) -> Tuple[ClassMap, MapResult]:
    """Return the class map of a micrograph, and the map result for the journal.

    Parameters
    ----------
    name : str
        Name of the micrograph, for error messages.
    contrast : str
        "dark", "bright" or "auto". "auto" is dark until the contrast of the session is decided.

    Raises
    ------
    MapError
        When the log-odds of the detector are not finite.
    PixelSizeError
        When the pixel size of the micrograph is too large for the detector.
    """
    inverted = contrast == BRIGHT
    try:
        classmap = detector.map(micrograph.image, micrograph.pixel_size, micrograph.border, inverted).checked(name)
    except PixelSizeError as error:
        raise _with_header(error, micrograph.flags) from None
    median = classmap.median_logit
    mapped = MapResult(
        shape=[int(side) for side in micrograph.image.shape],
        pixel_size=micrograph.pixel_size,
        sampling=classmap.sampling,
        median_logit=median if np.isfinite(median) else None,  # JSON has no NaN
        skewness=classmap.skewness,
        inverted=inverted,
        raw_path="",
        base_path="",
        flags=[*micrograph.flags, *classmap.flags, *([BORDER] if micrograph.border.any() else [])],
    )
    return classmap, mapped


def _with_header(error: PixelSizeError, flags: Sequence[str]) -> PixelSizeError:
    """Return an error about a given pixel size, with that of the header if they differ."""
    header = next((flag.split("=")[1] for flag in flags if flag.startswith(f"{PIXEL_SIZE_DIFFERS}=")), "")
    if not header:
        return error
    return PixelSizeError(f"{error.what} (the header has {header} Å/px)", error.reason, "check the given pixel size")
