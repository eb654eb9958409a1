# SPDX-License-Identifier: GPL-3.0-or-later
"""Search the micrographs of a run for regions: of all classes, or like the places that a user has labelled."""

from __future__ import annotations

import dataclasses
from typing import Callable, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from cryoice_scipion.constants import GOOD, GRADE_OF_CLASS
from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.images.grid import Frame
from cryoice_scipion.core.maps.bad_area import mask_threshold
from cryoice_scipion.core.regions.embedding import embed
from cryoice_scipion.core.regions.finding import box_in_px, outline_of
from cryoice_scipion.core.regions.heads import Heads, default_heads, distinct
from cryoice_scipion.core.regions.labels import LabelFile, LabelledBox
from cryoice_scipion.core.regions.layers import Layers
from cryoice_scipion.core.regions.proposals import TREE, Proposal, overlaps, propose
from cryoice_scipion.core.results.balance import names_in_short
from cryoice_scipion.core.results.stored_maps import StoredMaps

LEAST = 0.05  # confidence of a region that is listed
_FIELD = 0.9  # share of the micrograph: a region that is larger has no rim to differ from
_FITS = 0.3  # IoU of a proposal with a labelled box: without one, the box itself is the region
_NEAR = 0.05  # IoU of proposals that teach what a whole region is

#: Called with the ids of the micrographs and their number: shows the progress.
Progress = Callable[[Iterable[int], int], Iterable[int]]


@dataclasses.dataclass
class FoundRegion:
    """A region that the search has found."""

    micrograph: int  # id
    stem: str
    cls: str
    confidence: float  # P(class)
    expected_iou: float  # with a whole region
    rank: float  # log-odds: see Heads.rank
    proposal: Proposal
    sampling: float  # Å, side of a cell
    frame: Frame

    @property
    def box(self) -> Tuple[float, float, float, float]:
        """Return left and top edge, width and height in px."""
        return box_in_px(self.proposal.box, self.sampling, self.frame)

    @property
    def area(self) -> float:
        """Return the area in Å²."""
        return self.proposal.area * self.sampling**2

    @property
    def outline(self) -> List[List[float]]:
        """Return x and y in px of the corners of the outline."""
        corner = (self.proposal.box[0].start, self.proposal.box[1].start)
        return outline_of(self.proposal.mask, corner, self.sampling, self.frame)


def search_regions(
    maps: StoredMaps,
    labels: Optional[LabelFile] = None,
    method: str = TREE,
    progress: Progress = lambda keys, number: keys,
) -> List[FoundRegion]:
    """Return the regions of a run, best first: of the labelled classes, or without labels of all bad classes.

    Parameters
    ----------
    labels : LabelFile, optional
        Labelled boxes; micrographs that the run does not have are left out.
    method : str
        How regions are proposed: "tree" or "selective_search".

    Raises
    ------
    SettingsError
        When no labelled micrograph is in the run, or no box is labelled as bad.
    """
    heads, wanted = default_heads(), []  # type: Heads, List[str]
    if labels is not None:
        heads, wanted = _taught(maps, labels, method)
    wanted = wanted or [name for name in heads.classes if name != GOOD]
    keys = sorted(maps.tasks)
    found: List[FoundRegion] = []
    for key in progress(keys, len(keys)):
        layers = maps.layers(key)
        proposals = propose(layers, method)
        if labels is None and not _is_bad(maps, key, layers):
            proposals = [one for one in proposals if one.area <= _FIELD * layers.inside.sum()]
        found += _on_micrograph(maps, key, layers, proposals, heads, wanted)
    return sorted(found, key=lambda one: (-one.rank, one.micrograph))


def _is_bad(maps: StoredMaps, key: int, layers: Layers) -> bool:
    """Return whether the map or the grade says that a micrograph is bad throughout.

    A region that fills a micrograph has no rim, so its contrast to the rim is 0. This is usual for a region of vacuum
    and for a clean micrograph, and the heads cannot tell them apart.
    """
    threshold = mask_threshold(maps.config.threshold, maps.model.recommended_threshold)
    mostly = float(np.mean(layers.odds[layers.inside] > logit(1 - threshold))) > 0.5
    return mostly or maps.grade(key) in GRADE_OF_CLASS.values()


def _on_micrograph(
    maps: StoredMaps, key: int, layers: Layers, proposals: Sequence[Proposal], heads: Heads, wanted: Sequence[str]
) -> Iterator[FoundRegion]:
    if not proposals:
        return
    numbers = embed(layers, proposals)
    shares = heads.classify(numbers)[:, [heads.classes.index(name) for name in wanted]]
    ranks = np.stack([heads.rank(numbers, name) for name in wanted], axis=1)
    likeliest, each = ranks.argmax(axis=1), np.arange(len(ranks))
    confidence, expected = shares[each, likeliest], heads.expected_overlap(numbers)
    for index in distinct(ranks[each, likeliest], overlaps(proposals, proposals, layers.odds.shape)):
        if confidence[index] >= LEAST:
            yield FoundRegion(
                key,
                maps.tasks[key].stem,
                wanted[likeliest[index]],
                round(float(confidence[index]), 4),
                round(float(expected[index]), 4),
                float(ranks[index, likeliest[index]]),
                proposals[index],
                layers.sampling,
                layers.frame,
            )


def _taught(maps: StoredMaps, labels: LabelFile, method: str) -> Tuple[Heads, List[str]]:
    """Return heads that have learned the labelled boxes, and the labelled classes."""
    keys = {task.stem: key for key, task in maps.tasks.items()}
    rows: List[NDArray[np.float64]] = []
    parts: List[NDArray[np.float64]] = []
    names: List[str] = []
    iou: List[float] = []
    for stem, boxes in sorted(labels.micrographs.items()):
        if stem not in keys or not boxes:
            continue
        layers = maps.layers(keys[stem])
        proposals = propose(layers, method)
        numbers = embed(layers, proposals)
        for box in boxes:
            fits = _fits(box, proposals, layers)
            best = int(fits.argmax()) if len(fits) else -1
            known = best >= 0 and fits[best] >= _FITS
            rows.append(numbers[best : best + 1] if known else embed(layers, [_cells_of(box, layers)]))
            names.append(box.label)
            if not box.good:
                near = fits > _NEAR
                parts.append(numbers[near])
                iou += fits[near].tolist()
    wanted = sorted({name for name in names if name != GOOD})
    if not names:
        given = names_in_short(dict.fromkeys(stem for stem, _ in labels.boxes()))
        reason = f"no labelled micrograph ({given}) is in this run"
        raise SettingsError("labels", reason, "name micrographs as in micrographs.csv")
    if not wanted:
        raise SettingsError("labels", "no box is labelled as bad", "label at least one place that is to be found")
    taught = default_heads().taught(np.concatenate(rows), names, np.concatenate(parts), np.array(iou))
    return taught, wanted


def _fits(box: LabelledBox, proposals: Sequence[Proposal], layers: Layers) -> NDArray[np.float64]:
    """Return the IoU of a labelled box with the box of each proposal."""
    boxes = [Proposal(one.box, np.ones(one.mask.shape, dtype=bool)) for one in proposals]
    fits: NDArray[np.float64] = overlaps([_cells_of(box, layers)], boxes, layers.odds.shape)[0]
    return fits


def _cells_of(box: LabelledBox, layers: Layers) -> Proposal:
    """Return all cells of a labelled box."""
    scale = layers.frame.pixel_size / layers.sampling
    limits: List[slice] = []
    for start, length, size in zip((box.y, box.x), (box.height, box.width), layers.odds.shape):
        first = min(max(0, round(start * scale)), size - 1)
        limits.append(slice(first, min(size, max(first + 1, round((start + length) * scale)))))
    return Proposal((limits[0], limits[1]), np.ones([part.stop - part.start for part in limits], dtype=bool))
