# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulate the sessions for one_class.py: clean micrographs, and ones that are unusual from edge to edge.

The micrographs of a session share specimen and microscope. Defocus, dose, ice thickness, number of particles and
illumination vary between them. In some sessions each micrograph is standardised by itself, as some programs do.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

from cryoice_scipion.core.simulation.config import SceneConfig
from cryoice_scipion.core.simulation.processing import inside, to_values
from cryoice_scipion.core.simulation.scene import simulate

COUNTS, NORMALISED = "counts", "normalised"
SESSIONS = {COUNTS: 24, NORMALISED: 8}
CLEAN = "clean"
#: Kinds of the shipped model that cover a micrograph from edge to edge, and the share of the area they are asked for.
EDGE_TO_EDGE = {"vacuum": 1.0, "carbon": 0.99, "thick": 0.99, "poly": 1.0}
#: Kinds that the shipped model was never trained on: a drifted exposure, and a felt of fibres.
UNSEEN = ("drift", "fibres")
#: Micrographs with contamination on a part of the area: the simulator's kind, and the smallest and largest share.
LOCAL = {
    "frost in places": ("frost", (0.03, 0.3)),
    "dirt in places": ("dirt", (0.01, 0.06)),
    "carbon in places": ("carbon", (0.1, 0.5)),
}
NUMBERS = {CLEAN: 28, **dict.fromkeys((*EDGE_TO_EDGE, *UNSEEN), 3)}  # micrographs of a session
PIXEL_SIZES = (0.9, 1.2, 1.5, 2.0)  # Å/px
SIDE = 1024  # px
_DRIFT = (8.0, 20.0)  # Å
_FIBRES, _WIDTH, _ABSORBED = (12, 30), (25.0, 60.0), (0.02, 0.08)  # in a field of 1000 Å; Å; share of the electrons


@dataclasses.dataclass(frozen=True)
class Exposure:
    """One micrograph of one session."""

    group: str
    session: int
    kind: str
    number: int

    @property
    def name(self) -> str:
        """Return the name of its file."""
        return f"{self.group}_{self.session:02d}_{self.kind}_{self.number:02d}"


def exposures() -> Iterator[Exposure]:
    """Yield all micrographs, session by session."""
    for group, sessions in SESSIONS.items():
        for session in range(sessions):
            for kind, number in NUMBERS.items():
                yield from (Exposure(group, session, kind, index) for index in range(number))


def make(exposure: Exposure) -> Tuple[Any, float]:
    """Return a simulated micrograph (rows, columns), float32, and its pixel size in Å/px."""
    seed = [22, list(SESSIONS).index(exposure.group), exposure.session]
    own = [list(NUMBERS).index(exposure.kind), exposure.number]
    image, _, pixel_size = simulate_one(seed, own, exposure.kind, exposure.group == NORMALISED)
    return image, pixel_size


def simulate_one(session_seed: List[int], own_seed: List[int], kind: str, normalised: bool) -> Tuple[Any, Any, float]:
    """Return a micrograph (rows, columns), float32, its label image and its pixel size in Å/px.

    The session seed alone decides specimen, microscope and pixel size.
    """
    shared = np.random.default_rng(session_seed)
    rng = np.random.default_rng([*session_seed, *own_seed])
    pixel_size = float(shared.choice(PIXEL_SIZES))
    session = SceneConfig.random(shared, SIDE, SIDE, pixel_size, [], published=0.0)
    values = {**session.model_dump(), **variation(session, rng), **_content(kind, rng)}
    stored = str(shared.choice(["standardised", "bytes"])) if normalised else "counts"
    config = SceneConfig.make(**values)
    scene = simulate(config, rng)
    image = scene.pixels.astype(np.float32)
    if kind == "fibres":
        image *= _fibres(rng, pixel_size)
    return to_values(image, stored, False, inside(image.shape, config.border_px)), scene.labels, pixel_size


def variation(session: SceneConfig, rng: np.random.Generator) -> Dict[str, Any]:
    """Return what differs between clean micrographs of a session."""
    return {
        "defocus_um": session.defocus_um * float(rng.uniform(0.6, 1.4)),
        "dose": session.dose * float(rng.normal(1, 0.03)),
        "thickness": session.thickness * float(rng.uniform(0.8, 1.25)),
        "coverage": min(1.0, session.coverage * float(rng.uniform(0.5, 1.3))),
        "illumination": session.illumination + float(rng.normal(0, 0.02)),
        "values": "counts",  # as recorded: what each program makes of them comes later
        "inverted": False,
    }


def _content(kind: str, rng: np.random.Generator) -> Dict[str, Any]:
    if kind in EDGE_TO_EDGE:
        return {"kinds": [kind], "areas": [EDGE_TO_EDGE[kind]]}
    if kind in LOCAL:
        return {"kinds": [LOCAL[kind][0]], "areas": [float(rng.uniform(*LOCAL[kind][1]))]}
    return {"drift": float(rng.uniform(*_DRIFT))} if kind == "drift" else {}


def _fibres(rng: np.random.Generator, pixel_size: float) -> Any:
    """Return the share of electrons that straight fibres across the whole field let through."""
    field = SIDE * pixel_size
    y, x = np.mgrid[:SIDE, :SIDE] * np.float32(pixel_size)
    passed = np.ones((SIDE, SIDE), dtype=np.float32)
    for _ in range(int(rng.uniform(*_FIBRES) * field / 1000)):
        angle, width = rng.uniform(0, np.pi), rng.uniform(*_WIDTH)
        centre_y, centre_x = rng.uniform(0, field, 2)
        distance = np.abs((y - centre_y) * np.cos(angle) - (x - centre_x) * np.sin(angle))
        passed *= 1 - np.float32(rng.uniform(*_ABSORBED)) * np.exp(-((distance / (0.5 * width)) ** 4))
    return passed


def sessions() -> List[Tuple[str, int]]:
    """Return group and number of each session."""
    return [(group, session) for group, number in SESSIONS.items() for session in range(number)]
