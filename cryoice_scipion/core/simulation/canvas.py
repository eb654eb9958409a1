# SPDX-License-Identifier: GPL-3.0-or-later
"""The canvas a specimen is drawn on: coarse maps of slowly varying quantities, and a fine phase for lattice fringes."""

from __future__ import annotations

import dataclasses
from typing import Any, List, Optional, Tuple

import numpy as np

from cryoice_scipion.constants import CLASSES
from cryoice_scipion.core.simulation.fields import Spline
from cryoice_scipion.core.simulation.optics import Array

#: Å/px of the coarse maps, where the simulation itself is not coarser.
COARSE = 6.0
HOLDING = 20.0  # Å of ice and carbon that can carry an object


def code(name: str) -> int:
    """Return the code of a class in label images."""
    return CLASSES.index(name)


@dataclasses.dataclass
class Canvas:
    """A specimen being drawn, padded on every side. Maps are (rows, columns) on the coarse grid."""

    fine: Tuple[int, int]  # px of the simulation's grid
    sampling: float  # Å/px of it
    visible: Tuple[float, float, float, float]  # top, left, bottom, right of the recorded area, Å
    sigma: float  # interaction constant, rad/(V Å)
    ice: Array  # Å of vitreous ice
    mean_free_path: float  # Å, of ice
    radius: float = 60.0  # Å, of the particles
    detail: Optional[Array] = None  # rad on the fine grid, made when first needed
    clumps: List[Array] = dataclasses.field(default_factory=list)  # centres of aggregated particles, Å

    def __post_init__(self) -> None:
        """Make the empty maps."""
        shape = self.ice.shape
        self.step = self.fine[0] * self.sampling / shape[0] if shape[0] == self.fine[0] else coarse_step(self.sampling)
        self._last_object, self.has_fringes = 0, True
        self.phase = np.zeros(shape, np.float32)  # rad, beside that of the ice
        self.absorption = np.zeros(shape, np.float32)  # of the amplitude, beside that of the ice
        self.carbon = np.zeros(shape, np.float32)  # Å of amorphous carbon
        self.keep = np.ones(shape, np.float32)  # share of the particles' phase that is left here
        self.labels = np.zeros(shape, np.uint8)
        #: Number of the object on top: a frost crystal, a heap or string of dirt, an aggregate; 0: none of these.
        self.objects = np.zeros(shape, np.int32)
        self.spline = Spline(shape, self.fine, self.sampling / self.step)
        self.y = ((np.arange(shape[0], dtype=np.float32) + 0.5) * np.float32(self.step))[:, None]
        self.x = ((np.arange(shape[1], dtype=np.float32) + 0.5) * np.float32(self.step))[None, :]

    @property
    def shape(self) -> Tuple[int, int]:
        """Return rows and columns of the coarse maps."""
        return self.ice.shape[0], self.ice.shape[1]

    @property
    def area(self) -> float:
        """Return the recorded area in Å²."""
        top, left, bottom, right = self.visible
        return (bottom - top) * (right - left)

    def length(self, angstroms: float) -> float:
        """Return a length in coarse px."""
        return angstroms / self.step

    def mark(self, where: Array, name: str) -> None:
        """Label what is true in ``where`` as a class."""
        self.labels[where] = code(name)

    def add_object(self) -> int:
        """Return the number of a new object; ``objects`` is set to it where the object lies."""
        self._last_object += 1
        return self._last_object

    def holding(self, where: Any = ...) -> Array:
        """Return whether ice or film is there to carry an object, bool: of all pixels, or of an index into them."""
        return np.asarray(self.ice[where] + self.carbon[where] > HOLDING)

    def random_position(self, rng: np.random.Generator, margin: float = 0.0) -> Tuple[float, float]:
        """Return a random y, x in Å in the recorded field, widened by ``margin``; outside vacuum if possible."""
        top, left, bottom, right = self.visible
        last = np.array(self.shape) - 1
        for _ in range(20):
            y, x = float(rng.uniform(top - margin, bottom + margin)), float(rng.uniform(left - margin, right + margin))
            row, column = np.clip([y / self.step, x / self.step], 0, last).astype(int)
            if self.holding((row, column)):
                break
        return y, x

    def window(self, y: float, x: float, reach: float) -> Tuple[slice, slice]:
        """Return the part of the coarse maps within ``reach`` Å of a point; may be empty."""
        rows, columns = self.shape
        low = (int((y - reach) / self.step), int((x - reach) / self.step))
        high = (int((y + reach) / self.step) + 2, int((x + reach) / self.step) + 2)
        return (
            slice(min(max(0, low[0]), rows), min(max(0, high[0]), rows)),
            slice(min(max(0, low[1]), columns), min(max(0, high[1]), columns)),
        )

    def fine_box(self, mask: Array) -> Tuple[slice, slice]:
        """Return the part of the fine grid that holds all of a coarse mask (bool)."""
        result = []
        for axis in (1, 0):
            hit = np.flatnonzero(mask.any(axis=axis))
            size = self.fine[1 - axis]
            ratio = self.step / self.sampling
            start, stop = (hit[0] - 2, hit[-1] + 3) if len(hit) else (0, 0)
            result.append(slice(max(0, int(start * ratio)), min(size, int(np.ceil(stop * ratio)))))
        return result[0], result[1]

    def add_detail(self, box: Tuple[slice, slice], phase: Array) -> None:
        """Add fine phase, rad, in a part of the fine grid."""
        if self.detail is None:
            self.detail = np.zeros(self.fine, np.float32)
        self.detail[box] += phase

    def resolves(self, spacing: float) -> bool:
        """Tell whether fringes of a spacing in Å are drawn: below the grid's Nyquist frequency in every direction."""
        return self.has_fringes and spacing > 2.05 * self.sampling


def coarse_step(sampling: float) -> float:
    """Return the sampling of the coarse maps for a simulation at ``sampling``, Å/px."""
    return max(COARSE, sampling)


def sample_labels(labels: Array, step: float, window: Tuple[slice, slice], sampling: float) -> Array:
    """Return label codes on another grid: a pixel takes the class at its middle.

    Parameters
    ----------
    labels : ndarray, (rows, columns)
        Codes on a grid of ``step`` Å/px.
    window : (slice, slice)
        Which pixels of the other grid.
    sampling : float
        Å/px of the other grid, whose corner coincides.
    """
    index = []
    for part, size in zip(window, labels.shape):
        middle = (np.arange(part.start or 0, part.stop) + 0.5) * (sampling / step)
        index.append(np.minimum(middle.astype(int), size - 1))
    return np.ascontiguousarray(labels[index[0][:, None], index[1][None, :]])
