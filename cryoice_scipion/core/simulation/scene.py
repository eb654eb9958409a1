# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulate a whole micrograph: specimen, imaging, and labels of bad areas."""

from __future__ import annotations

import dataclasses
import zlib
from typing import Tuple

import numpy as np
from scipy import fft

from cryoice_scipion.constants import BORDER
from cryoice_scipion.core.simulation import detector, ice, picks, processing, specimen
from cryoice_scipion.core.simulation.canvas import Canvas, coarse_step, code, sample_labels
from cryoice_scipion.core.simulation.config import SceneConfig
from cryoice_scipion.core.simulation.contaminants import DRAWERS, draw_huge
from cryoice_scipion.core.simulation.fields import noise_with_spectrum, smooth_field
from cryoice_scipion.core.simulation.optics import Array, Optics, image_wave, interaction_constant

__all__ = ["Geometry", "Rendering", "Scene", "SceneConfig", "render", "simulate"]

#: The simulated field is larger by this on every side, Å: defocus carries detail over the edges of
#: a periodic transform (λ Δf k is 130 Å at 2.4 µm and 3.7 Å), and contaminants come from outside.
MARGIN = 160.0
#: Coarser pixels are simulated finer than this factor says and cropped, so that edges stay smooth.
OVERSAMPLED_FROM = 2.5  # Å/px


@dataclasses.dataclass
class Geometry:
    """The grids of one scene."""

    recorded: Tuple[int, int]  # rows, columns of the result
    padded: Tuple[int, int]  # the same with margins, even
    fine: Tuple[int, int]  # the simulation's grid over the padded field
    margin: Tuple[int, int]  # top, left, in recorded px
    pixel_size: float  # Å/px of the recorded grid
    sampling: float  # Å/px of the simulation's grid

    @classmethod
    def of(cls, config: SceneConfig) -> Geometry:
        """Return the grids that a configuration needs: the recorded sampling, or 1.5 times finer."""
        oversampling = 1.5 if config.pixel_size > OVERSAMPLED_FROM else 1.0
        margin = max(16, int(np.ceil(MARGIN / config.pixel_size)))
        padded = (_fast(config.rows + 2 * margin), _fast(config.columns + 2 * margin))
        fine = (int(padded[0] * oversampling), int(padded[1] * oversampling))
        sampling = config.pixel_size / oversampling
        return cls((config.rows, config.columns), padded, fine, (margin, margin), config.pixel_size, sampling)

    @property
    def window(self) -> Tuple[slice, slice]:
        """Return the recorded part of the padded grid."""
        (top, left), (rows, columns) = self.margin, self.recorded
        return slice(top, top + rows), slice(left, left + columns)

    @property
    def visible(self) -> Tuple[float, float, float, float]:
        """Return top, left, bottom, right of the recorded part in Å of the padded field."""
        rows, columns = self.window
        scale = self.pixel_size
        return rows.start * scale, columns.start * scale, rows.stop * scale, columns.stop * scale

    def to_px(self, centres: Array) -> Array:
        """Return y, x in Å of the padded field as x, y in px of the recorded image (pixel 0's centre is 0)."""
        px = centres / self.pixel_size - np.array(self.margin) - 0.5
        return np.ascontiguousarray(px[:, ::-1])


def _fast(size: int) -> int:
    """Return a size that transforms fast, not smaller, and a multiple of 4 (so that 1.5 times it is even)."""
    while size % 4 or fft.next_fast_len(size, real=True) != size:
        size += 1
    return size


@dataclasses.dataclass
class Rendering:
    """A scene before the detector."""

    intensity: Array  # float32, on the simulation's grid with margins; 1 without a specimen
    canvas: Canvas
    geometry: Geometry
    optics: Optics
    centres: Array  # (n, 2) y, x in Å of the padded field: all particles that were drawn


@dataclasses.dataclass
class Scene:
    """A simulated micrograph with its truth."""

    pixels: Array  # float32 (rows, columns), row 0 is y = 0
    labels: Array  # uint8, same shape: index in constants.CLASSES
    particles: Array  # (n, 2) float: x, y of isolated particles on good areas, px
    false_picks: Array  # (n, 2) float: x, y of what a picker takes wrongly, px
    config: SceneConfig


class Streams:
    """One random generator a purpose: draws for one purpose do not change the others."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw the scene's seed from ``rng``."""
        self.seed = [int(word) for word in rng.integers(0, 2**32, 4, dtype=np.uint32)]

    def __call__(self, purpose: str) -> np.random.Generator:
        """Return the generator of a purpose; the same each time."""
        return np.random.default_rng([*self.seed, zlib.crc32(purpose.encode())])


def _empty_canvas(config: SceneConfig, geometry: Geometry, streams: Streams) -> Canvas:
    """Return a canvas with clean vitreous ice: varying over 2500 Å, rough over 300 Å, thicker to one side."""
    step = coarse_step(geometry.sampling)
    size = tuple(n * geometry.sampling for n in geometry.fine)
    shape = geometry.fine if step == geometry.sampling else (int(size[0] / step) + 1, int(size[1] / step) + 1)
    rng = streams("ice thickness")
    relief = config.thickness_variation * smooth_field(shape, 2500 / step, rng)
    relief += 0.1 * config.thickness_variation * smooth_field(shape, 300 / step, rng)
    y = np.linspace(-0.5, 0.5, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, shape[1], dtype=np.float32)[None, :]
    slope = np.sin(config.thickness_angle) * y + np.cos(config.thickness_angle) * x
    relief += np.float32(config.thickness_gradient) * slope
    canvas = Canvas(
        fine=geometry.fine,
        sampling=geometry.sampling,
        visible=geometry.visible,
        sigma=interaction_constant(config.voltage),
        ice=(np.float32(config.thickness) * np.clip(1 + relief, 0.3, 3)).astype(np.float32),
        mean_free_path=ice.mean_free_path(ice.ICE_MEAN_FREE_PATH, config.voltage),
        radius=config.particle_radius,
    )
    if config.substrate:
        canvas.carbon += np.float32(config.substrate)
    return canvas


def draw_specimen(config: SceneConfig, geometry: Geometry, streams: Streams, fringes: bool = True) -> Canvas:
    """Return ice and contaminants without particles; without ``fringes``, faster and with the same labels."""
    canvas = _empty_canvas(config, geometry, streams)
    canvas.has_fringes = fringes
    for kind, draw in DRAWERS.items():
        if kind in config.kinds:
            draw(canvas, config.share(kind), streams(kind))
    if config.huge:
        draw_huge(canvas, config.huge, streams("huge"))
    return canvas


def _draw_particles(config: SceneConfig, canvas: Canvas, streams: Streams) -> Tuple[Array, Array]:
    """Return the phase of all particles on the fine grid, and the centres (y, x in Å) of the scattered ones."""
    rng = streams("particles")
    field = np.zeros(canvas.fine, np.float32)
    size = (canvas.fine[0] * canvas.sampling, canvas.fine[1] * canvas.sampling)
    excess = canvas.sigma * ice.PROTEIN_EXCESS
    radius = config.particle_radius
    stamps = specimen.project_views(config.particle_shape, radius, excess, canvas.sampling, rng)
    centres = specimen.scatter(size, radius, config.coverage, config.spacing, rng)
    specimen.paste(field, stamps, centres / canvas.sampling, rng.integers(0, len(stamps), len(centres)))
    if config.debris:
        small = specimen.project_views("globule", 0.4 * radius, excess, canvas.sampling, rng, 16)
        pieces = specimen.scatter(size, 0.4 * radius, config.debris, 0, rng)
        specimen.paste(field, small, pieces / canvas.sampling, rng.integers(0, len(small), len(pieces)))
    field *= canvas.spline(canvas.keep)
    rng = streams("clumps")
    for clump in canvas.clumps:  # these lie on top
        specimen.paste(field, stamps, clump / canvas.sampling, rng.integers(0, len(stamps), len(clump)))
    return field, centres


def _exit_wave(config: SceneConfig, canvas: Canvas, particles: Array, streams: Streams) -> Array:
    """Return ψ = exp(iφ - μ), complex64, on the fine grid; the particles' phase is used up."""
    water_scale = canvas.spline(np.sqrt(canvas.ice / np.float32(config.thickness)))

    def water(k: Array) -> Array:
        return ice.water_spectrum(k, config.thickness, config.dose, canvas.sigma)

    def carbon(k: Array) -> Array:
        return ice.carbon_spectrum(k, 1.0, canvas.sigma)

    # The water's own noise stays inside crystals and under frost: its absence must not give them away.
    structure = particles
    structure += noise_with_spectrum(canvas.fine, canvas.sampling, water, streams("water")) * water_scale
    if canvas.carbon.any():
        noise = noise_with_spectrum(canvas.fine, canvas.sampling, carbon, streams("carbon"))
        structure += noise * canvas.spline(np.sqrt(canvas.carbon))
    absorption = canvas.spline(canvas.absorption + canvas.ice / np.float32(2 * canvas.mean_free_path))
    # Amplitude contrast w of a weak object: μ = φ w / sqrt(1 - w²), so that sin and cos mix with w.
    w = config.amplitude_contrast
    absorption += np.float32(w / np.sqrt(1 - w * w)) * structure
    structure += canvas.spline(canvas.phase + np.float32(canvas.sigma * ice.ICE_POTENTIAL) * canvas.ice)
    if canvas.detail is not None:
        structure += canvas.detail
    modulus = np.exp(-absorption, out=absorption)
    wave = np.empty(canvas.fine, np.complex64)
    np.multiply(modulus, np.cos(structure), out=wave.real)
    np.multiply(modulus, np.sin(structure), out=wave.imag)
    return wave


def render(config: SceneConfig, rng: np.random.Generator) -> Rendering:
    """Draw a scene and image it: everything but the detector and what comes after it.

    The intensity away from a contaminant is that of the same seed without it.
    """
    streams = Streams(rng)
    geometry = Geometry.of(config)
    canvas = draw_specimen(config, geometry, streams)
    particles, centres = _draw_particles(config, canvas, streams)
    wave = _exit_wave(config, canvas, particles, streams)
    optics = config.optics
    return Rendering(image_wave(wave, geometry.sampling, optics), canvas, geometry, optics, centres)


def _record(config: SceneConfig, drawn: Rendering, streams: Streams) -> Array:
    """Return what the detector records of a rendering, counts, float32 (rows, columns)."""
    geometry = drawn.geometry
    arriving = detector.arriving(
        drawn.intensity,
        geometry.sampling,
        geometry.padded,
        drawn.optics,
        config.detector_pixel,
        min(1.0, config.mtf / config.ntf),
    )
    if config.illumination:
        arriving *= 1 + np.float32(config.illumination) * np.linspace(-1, 1, arriving.shape[1], dtype=np.float32)
    if config.shading:
        field = detector.shading(geometry.padded, config.pixel_size, config.shading_shape, streams("shading"))
        arriving = detector.shaded(arriving, config.dose * config.pixel_size**2, config.shading, field)
    counts = detector.expose(arriving, config.dose, config.pixel_size, streams("dose"))
    counts = detector.spread_noise(counts, config.pixel_size, config.detector_pixel, config.ntf)
    return np.ascontiguousarray(counts[geometry.window])


def _process(config: SceneConfig, image: Array, streams: Streams) -> Array:
    """Return the recorded image with faults, filters, borders and its range of values."""
    rng = streams("faults")
    if config.gain_stripes:
        detector.add_gain_stripes(image, config.gain_stripes, rng)
    if config.gain_blocks:
        detector.add_gain_blocks(image, config.gain_blocks, rng)
    if config.hot_pixels or config.dead_columns:
        detector.add_faulty_pixels(image, config.hot_pixels, config.dead_columns, rng)
    image = processing.filter_image(image, config.pixel_size, config.low_pass, config.high_pass)
    interior = processing.inside((config.rows, config.columns), config.border_px)
    if config.border == "smeared":
        noise = float(image.std()) * 0.02 if config.values == "bytes" else 0.0
        processing.smear_borders(image, config.border_px, noise, rng)
    elif config.border == "constant":
        value = 0.0 if rng.random() < 0.5 else float(image[interior].mean())
        processing.blank_borders(image, config.border_px, value)
    if config.values == "frame":
        image = processing.to_values(image, "standardised", config.inverted, interior)
        return image * np.float32(config.frame_deviation) + np.float32(config.frame_mean)
    return processing.to_values(image, config.values, config.inverted, interior)


def _labels(config: SceneConfig, drawn: Rendering) -> Array:
    """Return the class codes on the recorded grid."""
    geometry = drawn.geometry
    labels = sample_labels(drawn.canvas.labels, drawn.canvas.step, geometry.window, geometry.pixel_size)
    if config.border != "none":
        processing.blank_borders(labels, config.border_px, code(BORDER))
    return np.asarray(labels)


def simulate(config: SceneConfig, rng: np.random.Generator) -> Scene:
    """Simulate one micrograph.

    Parameters
    ----------
    config : SceneConfig
        What is in it and how it is recorded.
    rng : numpy.random.Generator
        The same state gives the same bytes.

    Returns
    -------
    Scene
        Pixels, labels and picks, all of the recorded size and in MRC order.
    """
    drawn = render(config, rng)
    streams = Streams(rng)
    recorded = _record(config, drawn, streams)
    labels = _labels(config, drawn)
    centres = drawn.geometry.to_px(drawn.centres)
    settings = picks.PickSettings(
        radius=config.particle_radius / config.pixel_size,
        factor=max(1, int(round(picks.PICKING_SAMPLING / config.pixel_size))),
        coverage=config.coverage,
        border=config.border == "smeared",  # a blank border has no peaks to pick
    )
    true, false = picks.pick(recorded, labels, centres, settings, streams("picks"))
    return Scene(_process(config, recorded, streams), labels, true, false, config)
