# SPDX-License-Identifier: GPL-3.0-or-later
"""Propose regions of a micrograph: parts that stand out, whatever their class. No torch, no files.

The component tree of a layer (Salembier et al. 1998, doi 10.1109/83.663500) has a node for each connected area above
each level. Its nodes at a few levels are proposals: of the log-odds of BAD, of the outlier map, and of dark and bright
grey levels. Selective Search (Uijlings et al. 2013, doi 10.1007/s11263-013-0620-5) is the alternative; it needs the
package ``selectivesearch``.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryoice_scipion.core.errors import SettingsError
from cryoice_scipion.core.regions.instances import EIGHT, separated
from cryoice_scipion.core.regions.layers import Layers

TREE, SELECTIVE = "tree", "selective_search"
_ODDS = (-5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 5.0, 7.0)
_OUTLIER = tuple(np.log([1.5, 2.0, 2.5, 3.0, 4.0, 6.0]).tolist())
_GREY = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0)  # robust deviations
_NECKS = (1.3, 2.0)
_LEAST = 2  # cells
_SAME = 0.9  # IoU: of two proposals that are more alike, one is kept
#: Settings of Selective Search: its scale, and the smoothing and smallest size of its first segments.
_SEARCH = {"scale": 100, "sigma": 0.8, "min_size": 4}


@dataclasses.dataclass
class Proposal:
    """A part of a map."""

    box: Tuple[slice, slice]  # rows and columns
    mask: NDArray[np.bool_]  # the cells of the box that belong to it

    @property
    def area(self) -> int:
        """Return the number of its cells."""
        return int(self.mask.sum())


def propose(layers: Layers, method: str = TREE) -> List[Proposal]:
    """Return the proposals of a micrograph, the largest first.

    Raises
    ------
    SettingsError
        When the package of Selective Search is not installed.
    """
    found = _of_search(layers) if method == SELECTIVE else _of_tree(layers)
    sized = [one for one in found if one.area >= _LEAST]
    return _different(sorted(sized, key=lambda one: (-one.area, one.box[0].start, one.box[1].start)))


def overlap(one: Proposal, other: Proposal) -> float:
    """Return the IoU of two proposals."""
    rows, columns = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one.box, other.box))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return 0.0
    parts = (
        each.mask[
            rows.start - each.box[0].start : rows.stop - each.box[0].start,
            columns.start - each.box[1].start : columns.stop - each.box[1].start,
        ]
        for each in (one, other)
    )
    both = int(np.logical_and(*parts).sum())
    return both / (one.area + other.area - both)


def overlaps(ones: Sequence[Proposal], others: Sequence[Proposal], shape: Sequence[int]) -> NDArray[np.float64]:
    """Return the IoU of each of some proposals with each of others; ``shape`` is that of the map."""
    first, second = _flat(ones, shape), _flat(others, shape)
    both = (first @ second.T).astype(np.float64)
    areas = [part.sum(axis=1) for part in (first, second)]
    table: NDArray[np.float64] = both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1)
    return table


def _flat(proposals: Sequence[Proposal], shape: Sequence[int]) -> NDArray[np.float32]:
    masks = np.zeros((len(proposals), *shape), dtype=np.float32)
    for mask, one in zip(masks, proposals):
        mask[one.box] = one.mask
    return masks.reshape(len(proposals), shape[0] * shape[1])


def _of_tree(layers: Layers) -> Iterator[Proposal]:
    smooth = ndimage.gaussian_filter(layers.grey, 1.0)
    for values, levels in ((layers.odds, _ODDS), (layers.outlier, _OUTLIER), (smooth, _GREY), (-smooth, _GREY)):
        for level in levels:
            labels, _ = ndimage.label((values > level) & layers.inside, structure=EIGHT)
            yield from _parts(labels)
            for neck in _NECKS:
                yield from _parts(separated(labels, neck))
    yield from _parts(layers.inside.astype(np.int32))


def _parts(labels: Any) -> Iterator[Proposal]:
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if box is not None:
            yield Proposal(box, labels[box] == number)


def _different(found: Sequence[Proposal]) -> List[Proposal]:
    """Return the proposals without those that are almost the same as a larger one."""
    kept: List[Proposal] = []
    by_area: Dict[int, List[Proposal]] = {}
    for one in found:
        area = one.area
        near = [other for size, others in by_area.items() if size * _SAME <= area for other in others]
        if all(overlap(one, other) <= _SAME for other in near):
            kept.append(one)
            by_area.setdefault(area, []).append(one)
        for size in [size for size in by_area if size * _SAME > area]:
            del by_area[size]
    return kept


def _of_search(layers: Layers) -> Iterator[Proposal]:
    try:
        import selectivesearch
    except ImportError:
        raise SettingsError(
            "Selective Search", "needs the package selectivesearch", "install it with pip install selectivesearch"
        ) from None
    channels = (layers.odds, ndimage.gaussian_filter(layers.grey, 1.0), layers.outlier)
    scaled = [(part - part.min()) / max(float(np.ptp(part)), 1e-6) for part in channels]
    image, regions = selectivesearch.selective_search(np.stack(scaled, axis=-1), **_SEARCH)
    for names in sorted({tuple(sorted(region["labels"])) for region in regions}):
        yield from _parts((np.isin(image[:, :, 3], names) & layers.inside).astype(np.int32))
