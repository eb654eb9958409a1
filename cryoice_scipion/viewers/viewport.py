# SPDX-License-Identifier: GPL-3.0-or-later
"""Zoom and pan: where a micrograph lies on a canvas."""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np

from cryoice_scipion.core.results.picture_layers import Box

STEP = 1.25  # factor of one turn of the mouse wheel
CLOSEST = 4.0  # px of the canvas per px of the micrograph


class Viewport:
    """The part of a micrograph that a canvas shows. It never leaves the micrograph."""

    def __init__(self) -> None:
        """Start without a micrograph."""
        self.columns, self.rows = 1, 1  # px of the micrograph
        self.width, self.height = 1, 1  # px of the canvas
        self.scale, self.left, self.top = 1.0, 0.0, 0.0  # px of the canvas per px; position of the micrograph's corner
        self.is_fit = True  # whether the whole micrograph is shown

    def resize(self, width: int, height: int) -> None:
        """Take a new size of the canvas; the middle of the view stays."""
        middle = self.to_micrograph(self.width / 2, self.height / 2)
        self.width, self.height = max(1, width), max(1, height)
        if self.is_fit:
            self.fit()
        else:
            self._centre(self.scale, middle, (self.width / 2, self.height / 2))

    def show(self, shape: Tuple[int, int]) -> None:
        """Show the whole of another micrograph, of this number of rows and columns."""
        self.rows, self.columns = shape
        self.fit()

    def fit(self) -> None:
        """Show the whole micrograph, as large as possible."""
        self.is_fit = True
        self._centre(self._least(), (self.columns / 2, self.rows / 2), (self.width / 2, self.height / 2))

    def zoom(self, factor: float, x: float, y: float) -> None:
        """Magnify; the point under ``x``, ``y`` of the canvas stays there."""
        point, scale = self.to_micrograph(x, y), min(self.scale * factor, max(CLOSEST, self._least()))
        if scale <= self._least() * 1.001:
            self.fit()
        else:
            self.is_fit = False
            self._centre(scale, point, (x, y))

    def look_at(self, x: float, y: float, side: float) -> None:
        """Magnify a square of ``side`` px around a position in px of the micrograph."""
        self.is_fit, scale = False, min(self.width, self.height) / side
        scale = min(max(scale, self._least()), max(CLOSEST, self._least()))
        self._centre(scale, (x, y), (self.width / 2, self.height / 2))

    def pan(self, across: float, down: float) -> None:
        """Move the micrograph by px of the canvas."""
        self.left, self.top = self.left + across, self.top + down
        self._stay_inside()

    def to_micrograph(self, x: float, y: float) -> Tuple[float, float]:
        """Return the position, in px of the micrograph from its corner, under a point of the canvas."""
        return (x - self.left) / self.scale, (y - self.top) / self.scale

    def to_canvas(self, positions: Any) -> Any:
        """Return the points of the canvas of coordinates, shape (n, 2); coordinates count from a pixel's centre."""
        return (np.asarray(positions) + 0.5) * self.scale + (self.left, self.top)

    def part(self) -> Tuple[Box, Tuple[int, int], Tuple[int, int]]:
        """Return the visible box of the micrograph, and the corner and the size of its picture on the canvas."""
        left, top = max(0, round(self.left)), max(0, round(self.top))
        right = min(self.width, round(self.left + self.columns * self.scale))
        bottom = min(self.height, round(self.top + self.rows * self.scale))
        size = max(1, right - left), max(1, bottom - top)
        box = (*self.to_micrograph(left, top), *self.to_micrograph(left + size[0], top + size[1]))
        return box, (left, top), size

    def _least(self) -> float:
        return min(self.width / self.columns, self.height / self.rows)

    def _centre(self, scale: float, point: Tuple[float, float], at: Tuple[float, float]) -> None:
        """Put a point of the micrograph on a point of the canvas."""
        self.scale = scale
        self.left, self.top = at[0] - point[0] * scale, at[1] - point[1] * scale
        self._stay_inside()

    def _stay_inside(self) -> None:
        self.left = _clamped(self.left, self.width - self.columns * self.scale)
        self.top = _clamped(self.top, self.height - self.rows * self.scale)


def _clamped(corner: float, spare: float) -> float:
    """Return the nearest corner at which no edge of the picture is inside the canvas; a small picture is centred."""
    return spare / 2 if spare >= 0 else min(0.0, max(spare, corner))
