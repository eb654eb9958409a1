# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn values into grey levels of a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

STRETCH = (0.5, 99.5)  # percentiles that become black and white


def grey_levels(values: NDArray[Any], black: float, white: float) -> NDArray[np.uint8]:
    """Return values as grey levels from 0 to 255, of the same shape; ``black`` and less is 0, ``white`` and more 255.

    If both are the same, all values up to it are 0.
    """
    share = (values - black) / max(white - black, 1e-12)
    levels: NDArray[np.uint8] = np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
    return levels
