# SPDX-License-Identifier: GPL-3.0-or-later
"""Crystalline ice: one crystal with a few fringe systems, or many small grains."""

from __future__ import annotations

from typing import Optional, Tuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from cryoice_scipion.core.simulation.canvas import Canvas
from cryoice_scipion.core.simulation.fields import smooth_field, soft_region, soft_step
from cryoice_scipion.core.simulation.optics import Array

# Å; hexagonal ice 100, 002, 101, 102, 110 and the cubic 111 (3.66); Dowell and Rinfret 1960.
ICE_SPACINGS = (3.90, 3.67, 3.44, 2.67, 2.25)
FIRST_ORDERS = 3  # one of the first three is always there
WEIGHTS = (0.4, 0.4, 0.2)


def add_fringes(canvas: Canvas, amplitude: Array, spacing: float, angle: float, warp: Optional[Array] = None) -> None:
    """Add lattice fringes of an amplitude (coarse map, rad); none where the grid cannot carry them."""
    if not canvas.resolves(spacing):
        return
    box = canvas.fine_box(np.abs(amplitude) > 2e-3)
    if box[0].start >= box[0].stop or box[1].start >= box[1].stop:
        return
    y = np.arange(box[0].start, box[0].stop) * canvas.sampling
    x = np.arange(box[1].start, box[1].stop) * canvas.sampling
    turns_y, turns_x = y * np.sin(angle) / spacing, x * np.cos(angle) / spacing
    # Whole turns are taken off before the sum goes to single precision.
    phase = (turns_y % 1).astype(np.float32)[:, None] + (turns_x % 1).astype(np.float32)[None, :]
    if warp is not None:
        phase += canvas.spline(warp, box)
    phase *= np.float32(2 * np.pi)
    np.cos(phase, out=phase)
    phase *= canvas.spline(amplitude, box)
    canvas.add_detail(box, phase)


def bend_contours(canvas: Canvas, rng: np.random.Generator) -> Array:
    """Return where a bent crystal is near a Bragg condition, 0 to 1: bands a few hundred Å wide."""
    tilt = smooth_field(canvas.shape, canvas.length(rng.uniform(1200, 4000)), rng)
    band = np.abs(np.sin(tilt * rng.uniform(1.5, 4.0) + rng.uniform(0, np.pi)))
    return np.asarray(1 - rng.uniform(0.2, 0.85) * band, dtype=np.float32)


def draw_single(canvas: Canvas, share: float, rng: np.random.Generator) -> None:
    """Draw single crystals in soft blobs: 1 to 3 fringe systems, bend contours, sometimes absorption."""
    mask = soft_region(canvas.shape, share, canvas.length(rng.uniform(500, 2200)), rng)
    strength = float(np.exp(rng.uniform(np.log(0.03), np.log(0.4))))
    for system in range(int(rng.integers(1, 4))):
        allowed = ICE_SPACINGS if system else ICE_SPACINGS[:FIRST_ORDERS]
        spacing = float(rng.choice(allowed, p=None if system else WEIGHTS))
        contours = bend_contours(canvas, rng)
        warp = rng.uniform(0, 1.5) * smooth_field(canvas.shape, canvas.length(rng.uniform(600, 2500)), rng)
        add_fringes(canvas, strength * mask * contours, spacing, float(rng.uniform(0, np.pi)), warp)
        # Bragg beams that leave the aperture are lost: dark bend contours at every sampling.
        canvas.absorption += float(rng.choice([0, 0.02, 0.05, 0.1])) * mask * contours
    canvas.mark(mask > 0.3, "crystalline")


def voronoi(
    canvas: Canvas, size: float, mask: Array, rng: np.random.Generator
) -> Tuple[Array, int, Tuple[slice, slice]]:
    """Return the grain of each coarse cell in the part that holds ``mask``, the number of grains, and that part."""
    hit_y, hit_x = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (slice(hit_y[0], hit_y[-1] + 1), slice(hit_x[0], hit_x[-1] + 1))
    y, x = canvas.y[box[0], 0], canvas.x[0, box[1]]
    reach = (float(y[-1] - y[0]) + 2 * size, float(x[-1] - x[0]) + 2 * size)
    number = max(3, int(reach[0] * reach[1] / size**2))
    seeds = rng.random((number, 2)) * reach + [y[0] - size, x[0] - size]
    cells = np.stack(np.broadcast_arrays(y[:, None], x[None, :]), axis=-1).reshape(-1, 2)
    _, grain = cKDTree(seeds).query(cells, workers=2)
    return grain.reshape(len(y), len(x)), number, box


def add_grain_fringes(
    canvas: Canvas,
    grain: Array,
    box: Tuple[slice, slice],
    amplitude: Array,
    spacing: Array,
    angle: Array,
    mask: Array,
) -> None:
    """Add one fringe system a grain, of an amplitude, spacing and direction each (1-D arrays)."""
    amplitude = np.where(spacing > 2.05 * canvas.sampling, amplitude, 0)
    if not amplitude.any():
        return
    area = np.zeros(canvas.shape, bool)
    area[box] = True
    fine = canvas.fine_box(area)
    y = np.arange(fine[0].start, fine[0].stop)
    x = np.arange(fine[1].start, fine[1].stop)
    ratio = canvas.sampling / canvas.step
    in_y = np.clip((y * ratio).astype(int) - box[0].start, 0, grain.shape[0] - 1)
    in_x = np.clip((x * ratio).astype(int) - box[1].start, 0, grain.shape[1] - 1)
    index = grain[in_y[:, None], in_x[None, :]]
    turn = (2 * np.pi * canvas.sampling / spacing).astype(np.float32)
    phase = (turn * np.sin(angle).astype(np.float32))[index] * y[:, None].astype(np.float32)
    phase += (turn * np.cos(angle).astype(np.float32))[index] * x[None, :].astype(np.float32)
    np.cos(phase, out=phase)
    phase *= amplitude.astype(np.float32)[index]
    phase *= canvas.spline(mask, fine)
    canvas.add_detail(fine, phase)


def draw_poly(canvas: Canvas, share: float, rng: np.random.Generator) -> None:
    """Draw Voronoi grains of random spacing, direction and darkness, in blobs or over the whole field."""
    mask = soft_region(canvas.shape, share, canvas.length(rng.uniform(600, 2500)), rng)
    size = float(np.exp(rng.uniform(np.log(80), np.log(450))))
    grain, number, box = voronoi(canvas, size, mask > 0.01, rng)
    strength = float(np.exp(rng.uniform(np.log(0.05), np.log(0.4))))
    first = rng.choice(FIRST_ORDERS, number, p=WEIGHTS)
    spacing = np.asarray(ICE_SPACINGS)[np.where(rng.random(number) < 0.15, rng.integers(3, 5, number), first)]
    amplitude = strength * rng.gamma(1.5, 0.67, number).clip(0, 3)
    add_grain_fringes(canvas, grain, box, amplitude, spacing, rng.uniform(0, np.pi, number), mask)
    # A grain near a Bragg condition is dark: few are, strongly. Grains overlap in depth, hence the blur.
    # Where the pixels do not resolve the fringes it is all there is to be seen.
    least = 0.01 if canvas.resolves(ICE_SPACINGS[0]) else 0.03
    mottling = float(np.exp(rng.uniform(np.log(least), np.log(0.09))))
    dark = (mottling * rng.gamma(0.7, 1.4, number).clip(0, 5))[grain].astype(np.float32)
    dark = ndimage.gaussian_filter(dark, canvas.length(size * rng.uniform(0.05, 0.5)))
    waves = np.exp(rng.uniform(0, 0.8) * smooth_field(canvas.shape, canvas.length(4 * size), rng))
    canvas.absorption[box] += dark * mask[box] * waves[box]
    if rng.random() < 0.4:
        add_dark_spots(canvas, mask, size, rng)
    canvas.mark(mask > 0.3, "crystalline")


def add_dark_spots(canvas: Canvas, mask: Array, size: float, rng: np.random.Generator) -> None:
    """Add the round dark grains that stand out of crystalline fields."""
    for _ in range(int(rng.integers(2, 30))):
        y, x = canvas.random_position(rng)
        radius = size * rng.uniform(0.3, 0.8)
        box = canvas.window(y, x, 1.5 * radius)
        distance = np.hypot(canvas.y[box[0]] - y, canvas.x[:, box[1]] - x) / radius
        canvas.absorption[box] += rng.uniform(0.05, 0.35) * mask[box] * (1 - soft_step(distance, 0.5, 1.4))
