# SPDX-License-Identifier: GPL-3.0-or-later
"""Proposals of the simulated micrographs, their numbers, and their overlap with the true regions; kept in a folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np
from numpy.typing import NDArray
from region_truth import Truth, references
from scipy import ndimage

from cryoice_scipion.constants import GOOD
from cryoice_scipion.core.detectors.class_map import ClassMap
from cryoice_scipion.core.detectors.one_class_fit import fit_one_class
from cryoice_scipion.core.maps.bad_area import probabilities
from cryoice_scipion.core.records import OneClass
from cryoice_scipion.core.regions.embedding import embed
from cryoice_scipion.core.regions.layers import layers_of
from cryoice_scipion.core.regions.proposals import Proposal, overlaps, propose


@dataclasses.dataclass
class Proposed:
    """The proposals of one micrograph."""

    session: str
    numbers: NDArray[np.float64]  # (proposals, numbers)
    iou: NDArray[np.float64]  # (proposals, true regions)
    alike: NDArray[np.float64]  # (proposals, proposals): IoU
    classes: List[str]  # of the true regions


def without_class(classmap: ClassMap, name: str) -> ClassMap:
    """Return the map of a detector that takes a class for good."""
    good, left_out = classmap.classes.index(GOOD), classmap.classes.index(name)
    logits = classmap.logits.copy()
    logits[good] = np.logaddexp(logits[good], logits[left_out])
    logits[left_out] = -30
    return dataclasses.replace(classmap, logits=logits)


def proposals_of(
    data: Sequence[Truth], build: Path, method: str, left_out: str = "", known: Optional[Dict[str, OneClass]] = None
) -> List[Proposed]:
    """Return the proposals of micrographs; ``left_out`` is a class that the detector takes for good."""
    known = {} if known is None else known
    found = []
    for truth in data:
        if truth.session not in known:
            features = references(build, truth.exposure.group, truth.exposure.session)
            known[truth.session] = fit_one_class(features, truth.features_sampling)
        classmap = without_class(truth.classmap, left_out) if left_out else truth.classmap
        layers = layers_of(
            probabilities(classmap, 0.0), truth.frame, truth.picture, truth.features, truth.features_sampling,
            known[truth.session],
        )  # fmt: skip
        proposals = propose(layers, method)
        boxes = ndimage.find_objects(truth.labels)
        regions = [Proposal(boxes[key - 1], truth.labels[boxes[key - 1]] == key) for key in truth.classes]
        found.append(
            Proposed(
                truth.session,
                embed(layers, proposals),
                overlaps(proposals, regions, classmap.border.shape),
                overlaps(proposals, proposals, classmap.border.shape),
                list(truth.classes.values()),
            )
        )
    return found
