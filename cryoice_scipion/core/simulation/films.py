# SPDX-License-Identifier: GPL-3.0-or-later
"""Support films beyond the edge of a hole: amorphous carbon and gold foil."""

from __future__ import annotations

from typing import Tuple

import numpy as np
from scipy import ndimage

from cryoice_scipion.core.simulation.canvas import Canvas
from cryoice_scipion.core.simulation.crystals import add_grain_fringes, voronoi
from cryoice_scipion.core.simulation.fields import smooth_field, soft_step
from cryoice_scipion.core.simulation.ice import (
    CARBON_MEAN_FREE_PATH,
    CARBON_POTENTIAL,
    GOLD_POTENTIAL,
    ICE_MEAN_FREE_PATH,
)
from cryoice_scipion.core.simulation.optics import Array

# Å; gold 111 and 200.
GOLD_SPACINGS = (2.35, 2.04)


def beyond_edge(canvas: Canvas, share: float, roughness: float, rng: np.random.Generator) -> Array:
    """Return the signed distance in Å beyond the edge of a round hole; positive on the film.

    The hole, of 0.6 to 1.2 µm radius, lies where the film covers ``share`` of the recorded field.
    """
    radius = rng.uniform(6000, 12000)
    angle = rng.uniform(0, 2 * np.pi)
    top, left, bottom, right = canvas.visible
    middle = ((top + bottom) / 2, (left + right) / 2)
    far = radius + np.hypot(bottom - top, right - left)
    low, high = 0.0, far

    def distance(away: float) -> Array:
        y, x = middle[0] + away * np.sin(angle), middle[1] + away * np.cos(angle)
        return np.asarray(np.hypot(canvas.y - np.float32(y), canvas.x - np.float32(x)) - np.float32(radius))

    rows = slice(int(top / canvas.step), int(bottom / canvas.step))
    columns = slice(int(left / canvas.step), int(right / canvas.step))
    for _ in range(18):  # the further the hole's centre, the more film
        away = (low + high) / 2
        if float((distance(away)[rows, columns][::4, ::4] > 0).mean()) < share:
            low = away
        else:
            high = away
    wobble = smooth_field(canvas.shape, canvas.length(rng.uniform(150, 800)), rng)
    wobble += 0.4 * smooth_field(canvas.shape, max(2.0, canvas.length(rng.uniform(25, 80))), rng)
    return np.asarray(distance((low + high) / 2) + np.float32(roughness) * wobble, dtype=np.float32)


def _film(canvas: Canvas, beyond: Array, rng: np.random.Generator) -> Tuple[Array, Array]:
    """Return the film's mask, 0 to 1, and thicken the ice towards its edge (the meniscus)."""
    width = max(1.5 * canvas.step, rng.uniform(10, 30))
    mask = soft_step(beyond, -width / 2, width / 2)
    reach = rng.uniform(300, 2500)
    meniscus = np.exp(np.minimum(beyond, 0) / np.float32(reach))
    canvas.ice *= 1 + np.float32(rng.uniform(0, 0.8)) * meniscus
    return mask, beyond > -width


def draw_carbon(canvas: Canvas, share: float, rng: np.random.Generator) -> None:
    """Draw a carbon film of 120 to 350 Å, with its own noise that does not move under the beam."""
    beyond = beyond_edge(canvas, share, rng.uniform(3, 25), rng)
    mask, labelled = _film(canvas, beyond, rng)
    thickness = np.float32(rng.uniform(120, 350))
    # Evaporated films often have a thicker rim along the hole.
    rim = np.float32(rng.uniform(0, 0.6)) * np.exp(-np.abs(beyond) / np.float32(rng.uniform(60, 250)))
    carbon = thickness * mask * (1 + rim)
    canvas.carbon = np.maximum(canvas.carbon, carbon)
    canvas.phase += np.float32(canvas.sigma * CARBON_POTENTIAL) * carbon
    path = canvas.mean_free_path * CARBON_MEAN_FREE_PATH / ICE_MEAN_FREE_PATH
    canvas.absorption += carbon / np.float32(2 * path)
    canvas.ice *= 1 - np.float32(rng.uniform(0, 0.5)) * mask
    canvas.keep *= 1 - np.float32(rng.uniform(0.0, 1.0)) * mask
    canvas.mark(labelled, "support")


def draw_gold(canvas: Canvas, share: float, rng: np.random.Generator) -> None:
    """Draw a gold foil of 250 to 500 Å: nearly opaque grains of 150 to 400 Å, with fringes."""
    beyond = beyond_edge(canvas, share, rng.uniform(10, 50), rng)
    mask, labelled = _film(canvas, beyond, rng)
    if not labelled.any():
        return
    thickness = float(rng.uniform(250, 500))
    grain, number, box = voronoi(canvas, float(rng.uniform(150, 400)), labelled, rng)
    orientation = rng.uniform(0.6, 1.5, number)
    dark = orientation[grain].astype(np.float32)
    dark = ndimage.gaussian_filter(dark, 1.0)
    # Amplitude falls as exp(-t / 2Λ) with Λ about 200 Å in gold at 300 kV; orientation decides the rest.
    canvas.absorption[box] += np.float32(thickness / 400) * dark * mask[box]
    # Foils are rough, and the phase of 400 Å of gold is several turns: only a share stays coherent.
    coherent = np.float32(min(rng.uniform(0.5, 3), canvas.sigma * GOLD_POTENTIAL * thickness))
    canvas.phase[box] += coherent * (0.8 + 0.2 * dark) * mask[box]
    spacing = rng.choice(GOLD_SPACINGS, number, p=(0.7, 0.3))
    amplitude = rng.uniform(0, 0.6, number)
    add_grain_fringes(canvas, grain, box, amplitude, spacing, rng.uniform(0, np.pi, number), mask)
    canvas.keep *= 1 - mask
    canvas.mark(labelled, "support")
