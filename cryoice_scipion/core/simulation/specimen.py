# SPDX-License-Identifier: GPL-3.0-or-later
"""Particles: random specimens made of Gaussian blobs, seen from all sides, and where they lie."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryoice_scipion.core.simulation.optics import Array

#: How the blobs of a specimen are laid out.
SHAPES = ("globule", "rod", "ring", "shell", "dumbbell", "barrel")
#: Share of the enclosing sphere that is protein.
FILLING = {"globule": 0.35, "rod": 0.25, "ring": 0.3, "shell": 0.6, "dumbbell": 0.5, "barrel": 0.35}
VIEWS = 48  # different projections of one specimen in a micrograph


def blob_centres(shape: str, number: int, rng: np.random.Generator) -> Array:
    """Return blob centres (number, 3) of a specimen of about radius 1; a filled ball for an unknown shape."""
    direction = rng.standard_normal((number, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = rng.random(number) ** (1 / 3)
    points = direction * radius[:, None]
    if shape == "globule":  # a few domains grown together
        domains = 0.5 * blob_centres("ball", int(rng.integers(3, 9)), rng)
        points = domains[rng.integers(0, len(domains), number)] + rng.uniform(0.35, 0.5) * points
    elif shape == "rod":
        points *= [0.35, 0.35, 1.0]
    elif shape == "ring":
        angle = rng.random(number) * 2 * np.pi
        points = 0.25 * points + 0.75 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    elif shape == "shell":
        points = direction * (0.75 + 0.2 * radius[:, None])
    elif shape == "dumbbell":
        points = 0.5 * points + np.where(rng.random(number) < 0.5, 0.55, -0.55)[:, None] * [0, 0, 1.0]
    elif shape == "barrel":
        angle, height = rng.random(number) * 2 * np.pi, rng.uniform(-0.85, 0.85, number)
        points = 0.15 * points + np.stack([0.45 * np.cos(angle), 0.45 * np.sin(angle), height], axis=1)
    return np.asarray(points)


def make_symmetric(points: Array, fold: int) -> Array:
    """Return the points repeated around z by a cyclic symmetry, so that lobes appear."""
    share = points[: max(1, len(points) // fold)]
    turned = [Rotation.from_euler("z", 2 * np.pi * i / fold).apply(share) for i in range(fold)]
    return np.concatenate(turned)


def project_views(
    shape: str,
    radius: float,
    phase_per_angstrom: float,
    sampling: float,
    rng: np.random.Generator,
    views: int = VIEWS,
) -> List[Array]:
    """Return projections of one random specimen, in rad, on the simulation's grid.

    A Gaussian blob projects to a Gaussian, so no volume is needed.

    Parameters
    ----------
    shape : str
        One of ``SHAPES``.
    radius : float
        Å.
    phase_per_angstrom : float
        Phase of 1 Å of the specimen above that of the ice it displaces.
    sampling : float
        Å/px.

    Returns
    -------
    list of ndarray, float32
        Square, of odd size.
    """
    number = int(rng.integers(200, 400))
    points = make_symmetric(blob_centres(shape, number, rng), int(rng.choice([1, 1, 2, 3, 4])))
    width = radius * rng.uniform(0.08, 0.2, len(points))
    weight = rng.uniform(0.6, 1.4, len(points))
    volume = FILLING[shape] * 4 / 3 * np.pi * radius**3
    weight *= phase_per_angstrom * volume / weight.sum()
    half = int(np.ceil(1.35 * radius / sampling))
    axis = np.arange(-half, half + 1) * sampling
    result = []
    for rotation in Rotation.random(views, random_state=int(rng.integers(2**31))):
        seen = rotation.apply(points) * radius
        sigma = np.hypot(width, 0.4 * sampling)[:, None]
        along_y = np.exp(-0.5 * ((axis - seen[:, 1:2]) / sigma) ** 2)
        along_x = np.exp(-0.5 * ((axis - seen[:, 0:1]) / sigma) ** 2)
        scale = weight[:, None] / (2 * np.pi * sigma**2)
        result.append(((along_y * scale).T @ along_x).astype(np.float32))
    return result


def scatter(
    size: Tuple[float, float], radius: float, coverage: float, spacing: float, rng: np.random.Generator
) -> Array:
    """Return centres (n, 2), y and x in Å, that cover a share of the field.

    Parameters
    ----------
    size : (float, float)
        Rows and columns of the field in Å.
    radius : float
        Å.
    coverage : float
        Share of the area that the particles' discs would cover without the spacing.
    spacing : float
        Smallest distance of two centres, in radii; the later one of a closer pair is dropped.
    """
    number = int(rng.poisson(coverage * size[0] * size[1] / (np.pi * radius**2)))
    centres = rng.random((number, 2)) * size
    if number < 2:
        return centres
    pairs = cKDTree(centres).query_pairs(spacing * radius, output_type="ndarray")
    keep = np.ones(number, bool)
    for first, second in pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]:
        if keep[first]:
            keep[second] = False
    return np.asarray(centres[keep])


def paste(field: Array, stamps: Sequence[Array], centres: Array, which: Array) -> None:
    """Add ``stamps[which[i]]`` around ``centres[i]`` (row, column, in px) to the field, in place, cut at its edges."""
    rows, columns = field.shape
    for (y, x), index in zip(np.floor(centres).astype(int), which):
        stamp = stamps[index]
        half = stamp.shape[0] // 2
        top, left = max(0, y - half), max(0, x - half)
        bottom, right = min(rows, y + half + 1), min(columns, x + half + 1)
        if top < bottom and left < right:
            start_y, start_x = top - (y - half), left - (x - half)
            field[top:bottom, left:right] += stamp[start_y : start_y + bottom - top, start_x : start_x + right - left]
