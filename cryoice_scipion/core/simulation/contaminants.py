# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw contamination on or in the ice on a :class:`Canvas`, one function a kind."""

from __future__ import annotations

import dataclasses
from typing import Callable, Dict, Tuple

import numpy as np
from scipy import ndimage

from cryoice_scipion.core.simulation import films
from cryoice_scipion.core.simulation.canvas import Canvas, code
from cryoice_scipion.core.simulation.crystals import FIRST_ORDERS, ICE_SPACINGS, add_fringes, draw_poly, draw_single
from cryoice_scipion.core.simulation.fields import smooth_field, soft_region, soft_step
from cryoice_scipion.core.simulation.ice import ICE_POTENTIAL
from cryoice_scipion.core.simulation.optics import Array

# Invisible objects are not labelled.
THINNEST = 40.0  # Å of ice: flakes
FAINTEST = 0.02  # of the wave is absorbed by ethane: 4 % of contrast; defocus hardly shows drops of 100 Å and more
NEAR_DROPS = 150.0  # Å
_TORN = 0.6  # share of empty regions that end within some tens of Å: ice that broke when it was solid

Box = Tuple[slice, slice]
Drawer = Callable[[Canvas, float, np.random.Generator], None]


def draw_thick(canvas: Canvas, share: float, rng: np.random.Generator) -> None:
    """Make the ice 2.5 to 5 times as thick in smooth regions."""
    mask = soft_region(canvas.shape, share, canvas.length(rng.uniform(1500, 5000)), rng)
    mask = ndimage.gaussian_filter(mask, canvas.length(rng.uniform(40, 200)))
    canvas.ice *= 1 + np.float32(rng.uniform(1.5, 4)) * mask
    canvas.mark(mask > 0.3, "thick")


def _outline(box: Tuple[Array, Array], facets: int, rng: np.random.Generator) -> Array:
    """Return the distance from a centre in units of an outline's radius: round, lumpy or with facets."""
    dy, dx = box
    stretch, tilt = rng.uniform(0.6, 1.0), rng.uniform(0, np.pi)
    along = dx * np.cos(tilt) + dy * np.sin(tilt)
    across = (dy * np.cos(tilt) - dx * np.sin(tilt)) / stretch
    radius = np.hypot(along, across)
    angle = np.arctan2(across, along)
    if facets:
        sector = 2 * np.pi / facets
        sharp = radius * np.cos((angle % sector) - sector / 2)
        return np.asarray(0.2 * radius + 0.8 * sharp, dtype=np.float32)
    lumps = sum(rng.uniform(-0.35, 0.35) / n * np.cos(n * angle + rng.uniform(0, 2 * np.pi)) for n in (1, 2, 3, 4))
    return np.asarray(radius * (1 + lumps), dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class _Dome:
    """A piece of matter on the ice."""

    y: float  # centre, Å
    x: float
    radius: float  # Å
    height: float  # Å
    dark: float  # absorption in addition to that of ice
    plateau: float  # share of the radius at which the profile begins to fall
    facets: int = 0  # sides of a crystal; 0: round or lumpy


def _add_dome(canvas: Canvas, dome: _Dome, rng: np.random.Generator) -> Tuple[Array, Box]:
    """Add a dome with the density of ice; return its profile, 0 to 1, and the part of the canvas that it covers."""
    y, x, radius = dome.y, dome.x, dome.radius
    box = canvas.window(y, x, 1.8 * radius)
    edge = max(1.5 * canvas.step / radius, 0.04)
    distance = _outline(((canvas.y[box[0]] - y), (canvas.x[:, box[1]] - x)), dome.facets, rng) / np.float32(radius)
    profile = 1 - soft_step(distance, dome.plateau, 1 + edge)
    # Matter is uneven inside: darker and lighter parts, a rough surface.
    rough = np.float32(rng.uniform(0.02, 0.4))
    shape = (profile.shape[0], profile.shape[1])
    uneven = 1 + rough * smooth_field(shape, max(2.0, 0.3 * radius / canvas.step), rng)
    canvas.phase[box] += np.float32(canvas.sigma * ICE_POTENTIAL * dome.height) * profile * uneven
    absorbed = np.float32(dome.dark + dome.height / (2 * canvas.mean_free_path))
    canvas.absorption[box] += absorbed * profile * np.maximum(uneven, 0)
    return profile, box


def _covered(canvas: Canvas, seen: Array) -> float:
    top, left, bottom, right = (int(v / canvas.step) for v in canvas.visible)
    return float(seen[top:bottom, left:right].mean())


def _discs(canvas: Canvas, seen: Array, centres: Array, radius: float) -> None:
    """Set ``seen`` to True within ``radius`` Å of each centre (y, x in Å)."""
    for y, x in centres:
        box = canvas.window(y, x, radius)
        seen[box] |= np.hypot(canvas.y[box[0]] - y, canvas.x[:, box[1]] - x) < radius


def draw_frost(canvas: Canvas, share: float, rng: np.random.Generator) -> None:
    """Draw ice that condensed from the air: hexagonal domes, flat flakes, large faceted crystals."""
    flat = rng.random() < 0.4
    typical = float(np.exp(rng.uniform(np.log(150), np.log(500))))
    seen = np.zeros(canvas.shape, bool)
    for _ in range(400):
        large = rng.random() < 0.05
        radius = typical * float(np.exp(rng.normal(0, 0.35))) * (3 if large else 1)
        y, x = canvas.random_position(rng, 0.5 * radius)
        height = max(THINNEST, radius * (rng.uniform(0.05, 0.3) if flat else rng.uniform(0.2, 1.0)))
        facets = 0 if flat and not large else int(rng.choice([0, 6, 6, 5]))
        crystalline = rng.random() < 0.5
        dark = 0.35 * rng.random() ** 2 if crystalline else 0.0
        plateau = rng.uniform(0.75, 0.95) if flat or large else rng.uniform(0.0, 0.7)
        profile, box = _add_dome(canvas, _Dome(y, x, radius, min(height, 700.0), dark, plateau, facets), rng)
        if crystalline:
            spacing = float(rng.choice(ICE_SPACINGS[:FIRST_ORDERS]))
            amplitude = np.zeros(canvas.shape, np.float32)
            amplitude[box] = rng.uniform(0.05, 0.4) * profile
            add_fringes(canvas, amplitude, spacing, float(rng.uniform(0, np.pi)))
        seen[box] |= profile > 0.12
        canvas.objects[box][profile > 0.12] = canvas.add_object()
        if _covered(canvas, seen) >= share:
            break
    canvas.mark(seen, "contamination")


def draw_huge(canvas: Canvas, radius: float, rng: np.random.Generator) -> None:
    """Draw one huge ice crystal (radius in Å), dark, often with facets, and with the bright fringe of its edge."""
    y, x = canvas.random_position(rng)
    height, dark = rng.uniform(200, 700), float(np.exp(rng.uniform(np.log(0.1), np.log(1.5))))
    dome = _Dome(y, x, radius, height, dark, rng.uniform(0.6, 0.95), int(rng.choice([0, 5, 6])))
    profile, box = _add_dome(canvas, dome, rng)
    width = float(np.exp(rng.uniform(np.log(20), np.log(120))))
    away = ndimage.distance_transform_edt(profile < 0.5) * canvas.step  # Å outside the crystal
    fringe = np.exp(-0.5 * (away / width - 1) ** 2) * (away > 0)
    canvas.absorption[box] -= np.float32(rng.uniform(0.02, 0.2)) * fringe.astype(np.float32)
    canvas.labels[box][(profile > 0.12) | (fringe > 0.3)] = code("contamination")


def draw_ethane(canvas: Canvas, share: float, rng: np.random.Generator) -> None:
    """Draw the mottled texture, 100 to 280 Å coarse, that leftover ethane makes."""
    mask = soft_region(canvas.shape, share, canvas.length(rng.uniform(800, 3000)), rng)
    size = rng.uniform(100, 280)
    texture = smooth_field(canvas.shape, canvas.length(0.5 * size), rng)
    texture -= ndimage.gaussian_filter(texture, canvas.length(0.5 * size))
    texture /= texture.std() + 1e-9
    # The mask moves the threshold: drops get smaller outwards and none is cut through.
    lumps = soft_step(texture - 4 * (1 - mask), rng.uniform(-0.8, 0.5), rng.uniform(0.9, 2.5))
    lumps *= canvas.holding()
    canvas.phase += np.float32(rng.uniform(0.15, 0.8)) * lumps
    canvas.absorption += np.float32(rng.uniform(FAINTEST, 0.06)) * lumps
    # The drops and the gaps between them are bad, not the empty ice at the rim.
    near = ndimage.maximum_filter(lumps > 0.15, size=int(canvas.length(2 * NEAR_DROPS)) + 1)
    canvas.mark(near & (mask > 0.02), "contamination")


def draw_dirt(canvas: Canvas, share: float, rng: np.random.Generator) -> None:
    """Draw very dark spots, strings of spots, and heaps: dirt, oxide, fragments of frost."""
    typical = float(np.exp(rng.uniform(np.log(50), np.log(160))))
    seen = np.zeros(canvas.shape, bool)
    reach = canvas.length(20)
    for _ in range(300):
        y, x = canvas.random_position(rng)
        heap = rng.random() < 0.15
        number = int(rng.integers(15, 60)) if heap else int(rng.choice([1, 1, 2, 3, 5, 8]))
        heading = rng.uniform(0, 2 * np.pi)
        origin = (y, x)
        dark, height = float(np.exp(rng.uniform(np.log(0.06), np.log(1.2)))), rng.uniform(60, 500)
        piece = canvas.add_object()
        for _ in range(number):
            radius = typical * float(np.exp(rng.normal(0, 0.3)))
            profile, box = _add_dome(canvas, _Dome(y, x, radius, height, dark, rng.uniform(0.3, 0.85)), rng)
            seen[box] |= profile > 0.1
            canvas.objects[box][profile > 0.1] = piece
            if heap:
                y, x = origin[0] + rng.normal(0, 4 * typical), origin[1] + rng.normal(0, 4 * typical)
            else:
                heading += rng.normal(0, 0.5)
                step = radius * rng.uniform(1.0, 1.8)
                y, x = y + step * np.sin(heading), x + step * np.cos(heading)
        if _covered(canvas, seen) >= share:
            break
    canvas.mark(ndimage.maximum_filter(seen, int(reach) + 1), "contamination")


def draw_aggregate(canvas: Canvas, share: float, rng: np.random.Generator) -> None:
    """Heap 15 to 60 particles in clumps; they are pasted later, this says where."""
    seen = np.zeros(canvas.shape, bool)
    for _ in range(60):
        number = int(rng.integers(15, 61))
        y, x = canvas.random_position(rng)
        spread = canvas.radius * np.sqrt(number) * rng.uniform(0.35, 0.7)
        stretch = rng.uniform(0.5, 1.0)
        offsets = np.clip(rng.standard_normal((number, 2)), -2, 2) * [spread, spread * stretch] * 0.6
        turn = rng.uniform(0, np.pi)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        centres = offsets @ rotation + [y, x]
        canvas.clumps.append(centres)
        clump = np.zeros(canvas.shape, bool)
        _discs(canvas, clump, centres, 1.2 * canvas.radius)
        canvas.objects[clump] = canvas.add_object()
        seen |= clump
        if _covered(canvas, seen) >= share:
            break
    # Denatured protein fills the gaps of a clump, and a clump of several layers makes the ice bulge.
    soft = ndimage.gaussian_filter(seen.astype(np.float32), 2)
    canvas.phase += np.float32(rng.uniform(0, 0.12)) * soft
    canvas.ice += np.float32(rng.uniform(0, 2) * canvas.radius) * soft
    canvas.mark(ndimage.binary_closing(seen, iterations=int(canvas.length(canvas.radius) / 2) + 1), "aggregate")


def draw_vacuum(canvas: Canvas, share: float, rng: np.random.Generator) -> None:
    """Take the ice away, with what lies in it, in smooth regions: thinned to nothing, or torn with a sharp edge."""
    mask = soft_region(canvas.shape, share, canvas.length(rng.uniform(2000, 5000)), rng)
    if rng.random() < _TORN:
        mask = ndimage.gaussian_filter((mask > 0.5).astype(np.float32), canvas.length(rng.uniform(5, 40)))
    for part in (canvas.ice, canvas.keep, canvas.phase, canvas.absorption):
        part *= 1 - mask
    if canvas.detail is not None:
        canvas.detail *= 1 - canvas.spline(mask)
    canvas.mark(mask > 0.5, "vacuum")


#: Drawn in this order, whatever the order in a configuration: what lies on top comes last.
DRAWERS: Dict[str, Drawer] = {
    "thick": draw_thick,
    "single": draw_single,
    "poly": draw_poly,
    "vacuum": draw_vacuum,
    "carbon": films.draw_carbon,
    "gold": films.draw_gold,
    "aggregate": draw_aggregate,
    "ethane": draw_ethane,
    "frost": draw_frost,
    "dirt": draw_dirt,
}
KINDS = tuple(DRAWERS)
