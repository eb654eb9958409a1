# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server works with: the run, the model, its worker, and a folder of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Optional

from cryoice_scipion.core.detectors.model_folder import resolve_model
from cryoice_scipion.core.serve.labels import Labels
from cryoice_scipion.core.serve.plane import Plane
from cryoice_scipion.core.serve.review import Review
from cryoice_scipion.core.serve.run_view import RunView
from cryoice_scipion.core.serve.safety import new_token
from cryoice_scipion.core.serve.screener import Screener
from cryoice_scipion.core.serve.teaching import Teaching
from cryoice_scipion.core.serve.tries import Tries


@dataclasses.dataclass
class Reviewed:
    """The run of a server."""

    view: RunView
    review: Review
    plane: Plane
    teaching: Teaching


@dataclasses.dataclass
class Place:
    """Hold the state of one server."""

    model: str  # name or folder
    device: str
    run: Optional[Path]  # the folder of a run; None: only *Try*
    folder: Path  # temporary, for uploads and their results
    screener: Screener
    tries: Tries
    reviewed: Optional[Reviewed] = None
    token: str = dataclasses.field(default_factory=new_token)  # of the address
    form_token: str = dataclasses.field(default_factory=new_token)  # of requests that change something


def make_place(model: str, device: str, run: Optional[Path], folder: Path) -> Place:
    """Return the state of a new server.

    Raises
    ------
    ModelError
        When the model folder is missing or damaged.
    """
    resolve_model(model)
    screener = Screener(model, device, folder / "worker.log")
    for name in ("uploads", "small"):
        (folder / name).mkdir()
    reviewed = None
    if run is not None:
        view = RunView(run, folder / "small")
        teaching = Teaching(view, Labels(run), screener, model, device)
        reviewed = Reviewed(view, Review(view), Plane(view), teaching)
    return Place(model, device, run, folder, screener, Tries(folder / "tries", screener), reviewed)
