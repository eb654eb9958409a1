# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulate the sessions for grades.py: micrographs of each grade, and a reference, of one specimen and microscope.

The grade of a simulated micrograph follows from the areas of its label image; see ``grade_of_areas`` of the package.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np
from one_class_sessions import variation

from cryoice_scipion.core.simulation.config import SceneConfig
from cryoice_scipion.core.simulation.scene import Scene, simulate

COUNTS, NORMALISED, COARSE = "counts", "normalised", "coarse"
#: Sessions with grey levels as recorded, with each micrograph standardised by itself, and published at coarse pixels.
SESSIONS = {COUNTS: 30, NORMALISED: 12, COARSE: 30}
PIXEL_SIZES = {COUNTS: (0.9, 1.2, 1.5, 2.0), NORMALISED: (0.9, 1.2, 1.5, 2.0), COARSE: (4.0, 6.0, 8.0)}  # Å/px
SIDE = {COUNTS: 1536, NORMALISED: 1536, COARSE: 512}  # px
LARGEST_REFERENCE = 1024  # px: smaller micrographs do for a reference, because only their mean features count
#: What is drawn on the tested micrographs of a session, and the range of the share of its area.
TESTED: Tuple[Tuple[Tuple[str, ...], Tuple[float, float]], ...] = (
    ((), (0.0, 0.0)),
    ((), (0.0, 0.0)),
    (("dirt",), (0.002, 0.03)),
    (("frost", "dirt", "aggregate", "ethane", "single", "carbon", "gold", "thick"), (0.06, 0.25)),
    (("frost", "dirt", "aggregate", "ethane", "single", "carbon", "gold", "thick"), (0.06, 0.25)),
    (("frost", "ethane", "aggregate"), (0.35, 0.9)),
    (("frost", "ethane"), (0.35, 0.9)),
    (("poly", "single"), (0.4, 1.0)),
    (("poly",), (0.9, 1.0)),
    (("thick",), (0.45, 0.99)),
    (("thick",), (0.99, 0.99)),
    (("carbon", "gold"), (0.45, 0.99)),
    (("carbon",), (0.99, 0.99)),
    (("vacuum",), (0.5, 0.95)),
    (("vacuum",), (1.0, 1.0)),
)
REFERENCE = 16  # micrographs
_SPOILT = 3  # of these, by anything that is tested


@dataclasses.dataclass(frozen=True)
class Exposure:
    """One micrograph of one session."""

    group: str
    session: int
    number: int  # negative: of the reference

    @property
    def name(self) -> str:
        """Return the name of its file."""
        return f"{self.group}_{self.session:02d}_{self.number + REFERENCE:02d}"


def exposures(group: str, session: int) -> Iterator[Exposure]:
    """Yield all micrographs of a session."""
    yield from (Exposure(group, session, number) for number in range(-REFERENCE, len(TESTED)))


def sessions() -> List[Tuple[str, int]]:
    """Return group and number of each session."""
    found = [(group, session) for group, number in SESSIONS.items() for session in range(number)]
    return sorted(found, key=lambda item: item[1])  # groups in turn, so that part of them is a fair sample


def make(exposure: Exposure) -> Tuple[Scene, float]:
    """Return a simulated micrograph and its pixel size in Å/px."""
    config, rng = recipe(exposure)
    return simulate(config, rng), config.pixel_size


def recipe(exposure: Exposure) -> Tuple[SceneConfig, np.random.Generator]:
    """Return the settings of a micrograph, and the generator that simulates it."""
    seed = [2222, list(SESSIONS).index(exposure.group), exposure.session]
    shared = np.random.default_rng(seed)
    rng = np.random.default_rng([*seed, exposure.number + REFERENCE])
    pixel_size = float(shared.choice(PIXEL_SIZES[exposure.group]))
    side = SIDE[exposure.group] if exposure.number >= 0 else min(LARGEST_REFERENCE, SIDE[exposure.group])
    published = 0.6 if exposure.group == COARSE else 0.0
    session = SceneConfig.random(shared, side, side, pixel_size, [], published=published)  # the same for each side
    stored = "counts" if exposure.group == COUNTS else str(shared.choice(["standardised", "bytes"]))
    values: Dict[str, Any] = session.model_dump()
    values.update(variation(session, rng))
    values.update(_content(exposure.number, rng), values=stored)
    return SceneConfig.make(**values), rng


def _content(number: int, rng: np.random.Generator) -> Dict[str, Any]:
    if number < -_SPOILT:
        number = int(rng.integers(0, 4))  # clean, or with little on it
    elif number < 0:
        number = int(rng.integers(len(TESTED)))
    kinds, (low, high) = TESTED[number]
    if not kinds:
        return {"kinds": [], "areas": []}
    return {"kinds": [str(rng.choice(kinds))], "areas": [float(rng.uniform(low, high))]}
