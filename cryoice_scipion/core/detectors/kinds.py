# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of detectors: a table from the name in model.json to the module that implements it. Imports no torch.

A kind is one module with a function ``load(folder, config, device)`` that returns a detector. The name of a module
that is not in this table can be given to :func:`register`, for instance by another package.
"""

from __future__ import annotations

import dataclasses
from typing import Dict

from cryoice_scipion.core.errors import ModelError

_NETWORK = "cryoice_scipion.core.detectors.network_detector"


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of detector."""

    name: str  # "network" in model.json
    module: str  # imported when a model of this kind is loaded
    has_weights: bool = True  # whether its model folders hold weights.safetensors


KINDS: Dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("unet", _NETWORK),
        Kind("patch_fft", _NETWORK),
        Kind("patch_spectrum", _NETWORK),
        Kind("spot_test", "cryoice_scipion.core.detectors.spots", has_weights=False),
    )
}


def register(kind: Kind) -> None:
    """Add a kind, or replace one of the same name."""
    KINDS[kind.name] = kind


def kind_of(network: str, model: object) -> Kind:
    """Return the kind of a model.

    Parameters
    ----------
    network : str
        The name in model.json.
    model : object
        Named in the error.

    Raises
    ------
    ModelError
        When this version has no such kind.
    """
    if network not in KINDS:
        raise ModelError(model, f"needs the network '{network}', which this version lacks", "update this package")
    return KINDS[network]
