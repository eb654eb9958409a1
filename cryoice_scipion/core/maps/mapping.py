# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the class map of a micrograph in memory; a run calls its detector only here. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Tuple

import numpy as np

from cryoice_scipion.constants import BORDER
from cryoice_scipion.core.detectors.class_map import ClassMap
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
    classmap = detector.map(micrograph.image, micrograph.pixel_size, micrograph.border, inverted).checked(name)
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
