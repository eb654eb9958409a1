# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrange the micrographs of a session on a plane, so that those with similar features are near each other."""

from __future__ import annotations

import dataclasses
from typing import Dict, List, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

PCA, TSNE = "pca", "tsne"
LEAST = 5  # micrographs: fewer are not arranged
MOST = {PCA: 10_000, TSNE: 2_000}  # micrographs that are arranged; t-SNE takes 10 s of CPU for as many
NEIGHBOURS = 5
_PERPLEXITY = 30.0  # of t-SNE, with enough micrographs


@dataclasses.dataclass
class SessionMap:
    """Positions of micrographs. Distances have no unit."""

    ids: List[int]
    positions: NDArray[np.float64]  # (micrographs, 2)
    explained: float  # share of the variance of the features that the plane shows; 0 with t-SNE
    neighbours: Dict[int, List[int]]  # ids of the micrographs with the most similar features, nearest first

    def scaled(self) -> NDArray[np.float64]:
        """Return the positions from 0 to 1 along each axis."""
        if not self.ids:
            return self.positions
        low, high = self.positions.min(axis=0), self.positions.max(axis=0)
        scaled: NDArray[np.float64] = (self.positions - low) / np.maximum(high - low, 1e-9)
        return scaled


def session_map(features: Mapping[int, Sequence[float]], method: str = PCA) -> SessionMap:
    """Return the map of a session; it is empty with fewer than ``LEAST`` micrographs.

    Parameters
    ----------
    features : mapping
        Features of each micrograph by id: ``deviations`` of its record. Micrographs with another number of features
        than most are left out. Of more micrographs than ``MOST``, evenly spaced ones are arranged.
    method : str
        "pca": the first two principal components. "tsne": t-distributed stochastic neighbour embedding (van der Maaten
        and Hinton 2008), which shows groups more clearly; its distances between groups mean nothing.
    """
    lengths = [len(values) for values in features.values() if len(values)]
    usual = max(sorted(set(lengths)), key=lengths.count) if lengths else 0
    ids = [key for key in sorted(features) if usual and len(features[key]) == usual]
    ids = ids[:: -(-len(ids) // MOST[method]) or 1]
    if len(ids) < LEAST:
        return SessionMap([], np.zeros((0, 2)), 0.0, {})
    rows = np.array([features[key] for key in ids], dtype=np.float64)
    rows -= np.median(rows, axis=0)
    left, strengths, directions = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    signs = np.sign(directions[:2, :].sum(axis=1))  # the sign of a component is arbitrary
    signs[signs == 0] = 1
    positions = left[:, :2] * strengths[:2] * signs
    explained = float((strengths[:2] ** 2).sum() / max(float((strengths**2).sum()), 1e-12))
    if method == TSNE:
        from sklearn import manifold  # loads slowly

        perplexity = min(_PERPLEXITY, (len(ids) - 1) / 3)
        positions = (
            manifold.TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(rows).astype(np.float64)
        )
        explained = 0.0
    return SessionMap(ids, positions, explained, _nearest(ids, rows))


def _nearest(ids: List[int], rows: NDArray[np.float64]) -> Dict[int, List[int]]:
    from scipy.spatial import cKDTree

    _, found = cKDTree(rows).query(rows, k=min(len(ids), NEIGHBOURS + 1))
    return {
        key: [ids[other] for other in near if other != index][:NEIGHBOURS]
        for index, (key, near) in enumerate(zip(ids, found))
    }
