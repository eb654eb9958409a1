# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a simulated micrograph, and random settings."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from pydantic import Field, model_validator

from cryoice_scipion.core.config import Settings
from cryoice_scipion.core.simulation.contaminants import KINDS
from cryoice_scipion.core.simulation.detector import SHADINGS
from cryoice_scipion.core.simulation.optics import Optics
from cryoice_scipion.core.simulation.specimen import SHAPES

DEFAULT_SHARE = 0.15
_SHAPE_SHARES = (0.3, 0.15, 0.15, 0.15, 0.1, 0.15)  # in the order of SHAPES
_LARGE = 0.12  # share of specimens that are large, of pictures far out of focus
_LARGE_RADIUS = 130  # Å
_CROWDED = 0.2  # share of specimens that lie side by side
PUBLISHED = 0.18  # share of pictures that were filtered both ways for a repository, in 8 bits
_SHADED, _UNEVEN_GAIN, _HUGE = 0.8, 0.4, 0.5  # shares of unprocessed frames with these
_INTEGRATING = 0.15  # share of integrating detectors: their DQE(0) is .25 to .6 (McMullan et al. 2014)


class SceneConfig(Settings):
    """One micrograph: its content, its recording and its later processing."""

    rows: int = Field(1024, ge=64, le=16_384)
    columns: int = Field(1024, ge=64, le=16_384)
    pixel_size: float = Field(2.0, ge=0.3, le=16)  # Å/px
    # microscope
    voltage: float = Field(300_000.0, ge=80_000, le=400_000)  # V
    cs_mm: float = Field(2.7, ge=0, le=8)
    defocus_um: float = Field(1.5, ge=-1, le=20)  # µm of underfocus
    astigmatism: float = Field(100.0, ge=0)  # Å, difference of the principal defoci
    astigmatism_angle: float = 0.0  # rad
    amplitude_contrast: float = Field(0.08, ge=0, le=1)
    b_factor: float = Field(80.0, ge=0)  # Å²
    drift: float = Field(0.3, ge=0)  # Å
    drift_angle: float = 0.0  # rad
    # exposure and detector
    dose: float = Field(40.0, gt=0)  # e/Å² that are counted
    detector_pixel: float = Field(1.0, gt=0)  # Å, the physical pixel
    mtf: float = Field(0.5, gt=0, le=1)  # at the physical Nyquist frequency
    ntf: float = Field(0.75, gt=0, le=1)  # the noise's; not below mtf
    # ice and particles
    thickness: float = Field(350.0, gt=0)  # Å
    thickness_variation: float = Field(0.15, ge=0)
    thickness_gradient: float = 0.0  # relative difference over the field
    thickness_angle: float = 0.0  # rad
    substrate: float = Field(0.0, ge=0)  # Å of continuous carbon under all of it; no contamination
    particle_shape: str = Field("globule", pattern="^(" + "|".join(SHAPES) + ")$")
    particle_radius: float = Field(60.0, gt=0)  # Å
    coverage: float = Field(0.2, ge=0, le=1)  # share of the area under particles; 0: none
    spacing: float = Field(1.6, ge=0)  # smallest distance of two centres, in radii
    debris: float = Field(0.0, ge=0, le=0.5)  # share of the area under small pieces of protein
    # contamination
    kinds: List[str] = Field(default_factory=list)
    areas: List[float] = Field(default_factory=list)  # share of the area of each kind; empty: 0.15 each
    huge: float = Field(0.0, ge=0)  # Å, radius of one huge ice crystal; 0: none
    # recording and later processing
    illumination: float = 0.0  # relative difference over the field
    shading: float = 0.0  # the darkest place, in standard deviations of the image; negative: the brightest
    shading_shape: str = Field("slope", pattern="^(" + "|".join(SHADINGS) + ")$")
    border: str = Field("none", pattern="^(none|smeared|constant)$")
    border_px: List[int] = Field(default_factory=lambda: [0, 0, 0, 0])  # top, left, bottom, right
    gain_stripes: float = Field(0.0, ge=0)
    gain_blocks: float = Field(0.0, ge=0)  # what a gain reference leaves, in standard deviations of the image
    hot_pixels: int = Field(0, ge=0)
    dead_columns: int = Field(0, ge=0)
    low_pass: Optional[float] = Field(None, gt=0)  # Å
    high_pass: Optional[float] = Field(None, gt=0)  # Å
    values: str = Field("counts", pattern="^(counts|standardised|bytes|frame)$")
    frame_mean: float = Field(6800.0, gt=0)  # of a frame as a camera stores it, with an offset
    frame_deviation: float = Field(9.0, gt=0)
    inverted: bool = False

    @model_validator(mode="after")
    def _kinds_are_known(self) -> SceneConfig:
        unknown = sorted(set(self.kinds) - set(KINDS))
        if unknown:
            raise ValueError(f"unknown kinds {', '.join(unknown)}; the kinds are {', '.join(KINDS)}")
        if self.areas and len(self.areas) != len(self.kinds):
            raise ValueError("areas must have one value per kind, or none")
        if any(not 0 < area <= 1 for area in self.areas):
            raise ValueError("areas must be fractions above 0 and up to 1")
        if len(self.border_px) != 4 or min(self.border_px) < 0:
            raise ValueError("border_px must be four widths: top, left, bottom, right")
        if sum(self.border_px[::2]) >= self.rows // 2 or sum(self.border_px[1::2]) >= self.columns // 2:
            raise ValueError("border_px leaves less than half of the field")
        return self

    def share(self, kind: str) -> float:
        """Return the wanted share of the area of a kind that is drawn."""
        return self.areas[self.kinds.index(kind)] if self.areas else DEFAULT_SHARE

    @property
    def optics(self) -> Optics:
        """Return the microscope in the units of the optics."""
        return Optics(
            voltage=self.voltage,
            cs=self.cs_mm * 1e7,
            defocus=self.defocus_um * 1e4,
            astigmatism=self.astigmatism / 2,
            astigmatism_angle=self.astigmatism_angle,
            b_factor=self.b_factor,
            drift=self.drift,
            drift_angle=self.drift_angle,
        )

    @classmethod
    def random(
        cls,
        rng: np.random.Generator,
        rows: int,
        columns: int,
        pixel_size: float,
        kinds: Optional[Sequence[str]] = None,
        published: float = PUBLISHED,
        raw: float = 0.0,
    ) -> SceneConfig:
        """Return a configuration in which everything varies widely.

        Parameters
        ----------
        rng : numpy.random.Generator
            The only source of chance.
        rows, columns : int
            px.
        pixel_size : float
            Å/px.
        kinds : sequence of str, optional
            What is drawn; an empty one is a clean micrograph. Default: nothing to three kinds by chance.
        published : float
            How likely it is one that was filtered both ways, in 8 bits, as repositories hold them.
        raw : float
            Probability of an unprocessed frame: uneven brightness, residues of the gain reference, the offset of a
            camera, and in half of them one huge ice crystal.

        Raises
        ------
        SettingsError
            For unknown kinds, and sizes that make no sense.
        """
        values: Dict[str, Any] = {"rows": rows, "columns": columns, "pixel_size": pixel_size}
        values.update(_microscope(rng, pixel_size))
        values.update(_specimen(rng))
        values.update(_processing(rng, rows, columns, pixel_size, published))
        if raw and rng.random() < raw:
            values.update(_raw_frame(rng, pixel_size * min(rows, columns), values["dose"]))
        if kinds is None:
            number = int(rng.choice([0, 1, 2, 3], p=[0.25, 0.45, 0.22, 0.08]))
            kinds = [str(kind) for kind in rng.choice(KINDS, number, replace=False)]
        values["kinds"] = list(kinds)
        values["areas"] = [_area(kind, rng) for kind in kinds]
        return cls.make(**values)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a number between two, evenly in its logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _area(kind: str, rng: np.random.Generator) -> float:
    if kind == "dirt":
        return _between(rng, 0.002, 0.08)
    if kind in ("frost", "aggregate"):
        return _between(rng, 0.02, 0.4)
    if kind in ("poly", "single", "vacuum") and rng.random() < 0.3:
        return 1.0
    if kind == "ethane" and rng.random() < 0.1:  # all over it looks much like crowded particles
        return 1.0
    if kind == "carbon" and rng.random() < 0.15:  # pictures are also taken beside the hole
        return 0.99
    # If more than a third of a field is empty, little tells ice from thicker ice.
    return _between(rng, 0.05, 0.35 if kind == "vacuum" else 0.6)


def _microscope(rng: np.random.Generator, pixel_size: float) -> Dict[str, Any]:
    ntf = float(rng.uniform(0.6, 0.98))
    counted = float(rng.uniform(0.25, 0.6)) if rng.random() < _INTEGRATING else 1.0
    return {
        "voltage": float(rng.choice([300_000.0, 200_000.0], p=[0.8, 0.2])),
        "cs_mm": float(rng.choice([2.7, 2.0, 1.4], p=[0.7, 0.2, 0.1])),
        "defocus_um": _between(rng, 0.6, 3.2) if rng.random() > _LARGE else _between(rng, 3.2, 9),
        "astigmatism": float(rng.uniform(0, 400)),
        "astigmatism_angle": float(rng.uniform(0, np.pi)),
        "amplitude_contrast": float(rng.uniform(0.06, 0.10)),
        "b_factor": _between(rng, 30, 140),
        "drift": float(rng.uniform(0, 1)),
        "drift_angle": float(rng.uniform(0, np.pi)),
        "dose": counted * _between(rng, 18, 70),
        "detector_pixel": float(min(rng.uniform(0.5, 1.4), pixel_size)),
        "ntf": ntf,
        "mtf": float(ntf * rng.uniform(0.5, 0.9)),
    }


def _specimen(rng: np.random.Generator) -> Dict[str, Any]:
    crowded = rng.random() < _CROWDED
    values: Dict[str, Any] = {
        "thickness": _between(rng, 180, 700),
        "thickness_variation": float(rng.uniform(0.02, 0.18)),
        "thickness_gradient": float(rng.choice([0.0, 1.0]) * rng.uniform(0, 0.4)),
        "thickness_angle": float(rng.uniform(0, 2 * np.pi)),
        "substrate": float(rng.uniform(15, 50)) if rng.random() < 0.06 else 0.0,
        "particle_shape": str(rng.choice(SHAPES, p=_SHAPE_SHARES)),
        "particle_radius": _between(rng, 35, _LARGE_RADIUS)
        if rng.random() > _LARGE
        else _between(rng, _LARGE_RADIUS, 240),
        "coverage": 0.0 if rng.random() < 0.15 else _between(rng, 0.02, 0.6),
        "spacing": float(rng.uniform(1.2, 2.2)),
        "debris": float(rng.uniform(0, 0.12)) if rng.random() < 0.4 else 0.0,
    }
    if crowded and values["particle_radius"] < _LARGE_RADIUS:  # large ones side by side look like heaps
        values["coverage"], values["spacing"] = float(rng.uniform(0.3, 1.0)), float(rng.uniform(1.0, 1.4))
        values["debris"] = float(rng.uniform(0, 0.3))
    values["thickness"] = max(values["thickness"], 1.5 * values["particle_radius"])  # the ice holds the particles
    return values


def _border(rng: np.random.Generator, rows: int, columns: int) -> Dict[str, Any]:
    if rng.random() < 0.75:
        return {}
    widths = rng.uniform(0.002, 0.035, 4) * [rows, columns, rows, columns]
    widths = np.maximum(widths * (rng.random(4) < 0.8), [2, 0, 0, 2])
    if rng.random() < 0.4:
        widths[:] = rng.uniform(0.01, 0.03) * min(rows, columns)
    return {"border": str(rng.choice(["smeared", "constant"])), "border_px": [int(width) for width in widths]}


def _processing(
    rng: np.random.Generator, rows: int, columns: int, pixel_size: float, published_share: float
) -> Dict[str, Any]:
    values = _border(rng, rows, columns)
    values["illumination"] = float(rng.normal(0, 0.02 if rng.random() < 0.9 else 0.15))
    if rng.random() < 0.15:
        values["gain_stripes"] = _between(rng, 0.0005, 0.005)
    if rng.random() < 0.15:
        values["hot_pixels"] = int(rng.integers(1, 40))
        values["dead_columns"] = int(rng.integers(0, 3))
    values["values"] = str(rng.choice(["counts", "standardised", "bytes"], p=[0.6, 0.2, 0.2]))
    published = rng.random() < published_share
    if published or rng.random() < 0.12:  # EMPIAR-10017 is low-passed at 85 Å, high-passed at 400 Å
        values["low_pass"] = max(_between(rng, 8, 100 if published else 40), 2.2 * pixel_size)
    if published or rng.random() < 0.12:
        values["high_pass"] = _between(rng, 350, 4000)
    if published:
        values["values"] = "bytes"
    values["inverted"] = bool(rng.random() < 0.08)
    return values


def _raw_frame(rng: np.random.Generator, side: float, dose: float) -> Dict[str, Any]:
    """Return the settings of an unprocessed frame. ``side`` is its shorter side in Å; ``dose`` is that of a movie."""
    mean = _between(rng, 20, 30_000)
    shading = _between(rng, 0.3, 3) * float(rng.choice([1, -1], p=[0.8, 0.2]))
    return {
        "dose": dose * _between(rng, 0.3, 1),
        "shading": shading if rng.random() < _SHADED else 0.0,
        "shading_shape": str(rng.choice(SHADINGS)),
        "gain_blocks": _between(rng, 0.01, 0.15) if rng.random() < _UNEVEN_GAIN else 0.0,
        "huge": _between(rng, 0.1, 0.35) * min(side, 5000) if rng.random() < _HUGE else 0.0,
        "low_pass": None,
        "high_pass": None,
        "values": "frame",
        "frame_mean": mean,
        "frame_deviation": mean * _between(rng, 0.001, 0.1),
        "inverted": False,
    }
